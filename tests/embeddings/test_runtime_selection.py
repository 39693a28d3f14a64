"""`auto` uses fp32 by eager torch for few images; for many it measures once and reuses the choice.

Modules: embeddings.groups, embeddings.machine.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import extract
from featx.embeddings.extract import Extraction
from featx.embeddings.groups import network_groups
from featx.embeddings.machine import CPU_RUNTIMES
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.runtimes import Execution, PortableNetwork, is_native
from featx.errors import DeviceError, FeatxError
from featx.progress import no_progress
from featx.specs.embedding import ReducedPrecision
from featx.specs.extraction import EngineSpec
from featx.study.study import Study

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
LOW_LIMIT = "\n[extraction]\nmin_cosine = 0.5\n"
HIGH_LIMIT = "\n[extraction]\nmin_cosine = 0.9999999\n"
BF16 = ReducedPrecision(dtype="bf16", runtime="openvino", device="cpu")
needs_bf16 = pytest.mark.skipif(not is_native("bf16"), reason="this CPU does not multiply bf16 by itself")


@pytest.fixture
def recipe(toy_home: Path) -> Path:
    """Return the toy recipe, with its results beside it and a low limit on the cosine with fp32."""
    file = toy_home / "featx.toml"
    file.write_text(file.read_text() + PLACES + LOW_LIMIT)
    return file


@pytest.fixture
def low_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 48 images be enough for a reduced precision and for benchmarks, and make benchmarks short."""
    monkeypatch.setattr("featx.embeddings.runtime_selection.MIN_IMAGES_TO_BENCHMARK", 30)
    monkeypatch.setattr("featx.embeddings.runtime_selection.MIN_IMAGES_TO_REDUCE", 30)
    monkeypatch.setattr("featx.embeddings.benchmarks.MIN_SECONDS_TO_BENCHMARK", 0.0)
    monkeypatch.setattr("featx.embeddings.benchmarks.BENCHMARK_S", 0.02)


@pytest.fixture
def executions_used(monkeypatch: pytest.MonkeyPatch) -> list[Execution]:
    """Return the list that receives the execution of each runner built from now on."""
    executions: list[Execution] = []
    real = PortableNetwork.build_runner

    def build_runner(self: PortableNetwork, execution: Execution, rows: int | None = None) -> Any:
        executions.append(execution)
        return real(self, execution, rows)

    monkeypatch.setattr(PortableNetwork, "build_runner", build_runner)
    return executions


def with_line(recipe: Path, line: str, old_line: str = "") -> Path:
    """Change a line of a recipe, or add one to its embedding."""
    text, first = recipe.read_text(), 'weights = "none"'
    recipe.write_text(text.replace(old_line, line) if old_line else text.replace(first, f"{first}\n{line}"))
    assert recipe.read_text() != text
    return recipe


def journal_entries(recipe: Path) -> dict[str, Any]:
    """Return the journal's entries of the only network in it."""
    (entries,) = json.loads((recipe.parent / "cache" / "benchmarks.json").read_text()).values()
    return dict(entries)


def precisions(extraction: Extraction) -> list[str]:
    return [embedding["precision"] for embedding in extraction.embeddings]


def segment_provenance(recipe: Path) -> list[dict[str, Any]]:
    """Return the provenance of all segments."""
    files = sorted((recipe.parent / "cache").glob("*.zarr/segment-*/zarr.json"))
    return [json.loads(file.read_text())["attributes"]["featx"] for file in files]


def vectors(recipe: Path) -> dict[str, bytes]:
    study = Study.open(recipe)
    ids = study.manifest.ids
    return {name: row.tobytes() for name, row in zip(ids, read_embeddings(study, ids, study.locked).x, strict=True)}


def test_few_images_use_fp32_by_eager_torch_without_benchmarks(recipe: Path) -> None:
    extraction = extract(recipe)

    assert precisions(extraction) == ["fp32"]
    assert [(segment["runtime"].split()[0], segment["precision"]) for segment in segment_provenance(recipe)] == [
        ("torch", "fp32")
    ]
    assert not (recipe.parent / "cache" / "benchmarks.json").exists()


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_many_images_use_an_accurate_reduced_precision(recipe: Path) -> None:
    extraction = extract(recipe)

    assert precisions(extraction) == ["bf16 by openvino on cpu"]
    assert extraction.n_embedded == 48
    deviation = extraction.embeddings[0]["deviation"]
    assert deviation["n_images"] == 48
    assert 0.5 < deviation["cosine"] < 1
    (segment,) = segment_provenance(recipe)
    assert (segment["precision"], segment["deviation"]) == ("bf16 by openvino on cpu", deviation)
    (entry,) = journal_entries(recipe).values()
    assert (ReducedPrecision.model_validate(entry["precision"]), entry["deviation"]) == (BF16, deviation)


@pytest.mark.usefixtures("low_thresholds")
def test_many_images_in_fp32_use_a_benchmarked_runtime(recipe: Path, executions_used: list[Execution]) -> None:
    extract(with_line(recipe, 'precision = "fp32"'))

    assert executions_used == [Execution(name, "cpu") for name in CPU_RUNTIMES]
    assert set(journal_entries(recipe)) == {"speeds"}
    speeds = journal_entries(recipe)["speeds"]
    assert set(speeds) == set(CPU_RUNTIMES)
    assert all(speed["images_per_s"] > 0 and speed["build_s"] >= 0 for speed in speeds.values())


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("line", ['precision = "auto"', 'precision = "fp32"'])
def test_benchmarks_are_not_repeated(recipe: Path, executions_used: list[Execution], line: str) -> None:
    extract(with_line(recipe, line))
    benchmarks = recipe.parent / "cache" / "benchmarks.json"
    written_at_ns, n_tried, rows = benchmarks.stat().st_mtime_ns, len(executions_used), vectors(recipe)
    shutil.rmtree(recipe.parent / "runs")
    for store in (recipe.parent / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    executions_used.clear()

    extraction = extract(recipe)

    assert extraction.n_embedded == 48
    assert benchmarks.stat().st_mtime_ns == written_at_ns
    assert len(executions_used) == 1 < n_tried
    if isinstance(executions_used[0].precision, ReducedPrecision):  # in fp32 the runtime may be another one
        assert vectors(recipe) == rows


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_a_second_recipe_on_the_same_cache_makes_the_same_choice(
    recipe: Path, executions_used: list[Execution]
) -> None:
    first = extract(recipe)
    rows = vectors(recipe)
    second_recipe = recipe.with_name("other.toml")
    second_recipe.write_text(recipe.read_text())
    executions_used.clear()

    extraction = extract(second_recipe)

    assert (extraction.recipe, extraction.n_cached, extraction.n_embedded) == ("other", 48, 0)
    assert extraction.embeddings == first.embeddings
    assert executions_used == []
    assert vectors(second_recipe) == rows


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_few_images_use_fp32_though_stored_in_another_precision(recipe: Path) -> None:
    extract(recipe)
    second_recipe = recipe.with_name("other.toml")
    table = pd.DataFrame({"path": [f"images/dark/{number:03}.png" for number in range(6)], "class": ["a", "b"] * 3})
    table.to_csv(recipe.parent / "few.csv", index=False)
    split = "test = 0.25\nval = 0.25"
    second_recipe.write_text(
        recipe.read_text()
        .replace('source = "images"', 'source = "."\nlabels = { file = "few.csv" }')
        .replace(split, "test = 0\nval = 0")
    )

    extraction = extract(second_recipe)

    assert (extraction.n_embedded, precisions(extraction)) == (6, ["fp32"])


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_few_images_use_fp32_whatever_the_journal_holds(recipe: Path) -> None:
    extract(recipe)
    for store in (recipe.parent / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    shutil.rmtree(recipe.parent / "runs")
    for image in (recipe.parent / "images").glob("*/0[12]*.png"):
        image.unlink()

    assert precisions(extract(recipe)) == ["fp32"]


def test_the_sample_does_not_depend_on_the_order_of_the_images(recipe: Path) -> None:
    extract(recipe)
    study = Study.open(recipe)
    uris = dict(zip(study.manifest.digests, study.manifest.uris, strict=True))
    (group,) = network_groups(study.recipe.requests)
    orders = [list(uris), list(reversed(uris)), sorted(uris), [list(uris)[number] for number in range(-20, 28)]]

    samples = [
        RuntimeSelector(
            study.cache, EngineSpec(device="cpu"), {digest: uris[digest] for digest in order}, no_progress, sample=16
        ).decode_sample(group)
        for order in orders
    ]

    assert samples[0].shape == (16, 16, 16, 3)
    assert len(np.unique(samples[0], axis=0)) == 16
    assert all(pixels.tobytes() == samples[0].tobytes() for pixels in samples)


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_the_choice_does_not_depend_on_the_order_of_the_images(recipe: Path) -> None:
    first = extract(recipe)
    reversed_home = recipe.parent / "turned"
    shutil.copytree(recipe.parent / "images", reversed_home / "images")
    names = sorted(str(path.relative_to(reversed_home)) for path in (reversed_home / "images").rglob("*.png"))
    table = pd.DataFrame({"path": names[::-1], "class": ["dark", "light"] * 24})
    table.to_csv(reversed_home / "labels.csv", index=False)
    (reversed_home / "featx.toml").write_text(
        recipe.read_text().replace('source = "images"', 'source = "."\nlabels = { file = "labels.csv" }')
    )

    extraction = extract(reversed_home / "featx.toml")

    fields = ("precision", "deviation")
    assert [[embedding[name] for name in fields] for embedding in extraction.embeddings] == [
        [embedding[name] for name in fields] for embedding in first.embeddings
    ]


@pytest.mark.usefixtures("low_thresholds")
def test_fp32_is_never_reduced(recipe: Path, executions_used: list[Execution]) -> None:
    extraction = extract(with_line(recipe, 'precision = "fp32"'))

    assert precisions(extraction) == ["fp32"]
    assert {execution.precision for execution in executions_used} == {"fp32"}
    assert extraction.embeddings[0]["deviation"] is None


@pytest.mark.usefixtures("low_thresholds")
def test_auto_uses_fp32_if_no_precision_is_accurate_enough(recipe: Path) -> None:
    extraction = extract(with_line(recipe, HIGH_LIMIT, old_line=LOW_LIMIT))

    assert (precisions(extraction), extraction.n_embedded) == (["fp32"], 48)
    assert {segment["precision"] for segment in segment_provenance(recipe)} == {"fp32"}


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_a_named_precision_that_is_inaccurate_is_an_error(recipe: Path, runtime: str) -> None:
    if runtime == "auto" and not is_native("bf16"):
        pytest.skip("this CPU does not multiply bf16 by itself")
    with_line(with_line(recipe, HIGH_LIMIT, old_line=LOW_LIMIT), 'precision = "bf16"')

    for _ in range(2):  # asked again, what is remembered answers
        with pytest.raises(
            DeviceError,
            match=r"^backbone 'toy': precision = 'bf16' is not accurate enough on this machine: compared with fp32 on "
            r"48 images: .*; expected lowest cosines of 0\.9999999 or more \(extraction\.min_cosine\); set "
            r"precision = 'fp32'$",
        ) as raised:
            extract(recipe, engine=engine(recipe, runtime=runtime))
        assert "\n" not in str(raised.value)

    assert not list((recipe.parent / "cache").glob("*.zarr"))


def engine(recipe: Path, **changes: Any) -> EngineSpec:
    """Return a recipe's extraction settings with some changes."""
    return EngineSpec.model_validate(Study.open(recipe).recipe.extraction.model_dump() | changes)


def test_a_named_precision_is_used_for_few_images_too(recipe: Path) -> None:
    extraction = extract(with_line(recipe, 'precision = "bf16"'), engine=engine(recipe, runtime="torch", device="cpu"))

    assert precisions(extraction) == ["bf16 by torch on cpu"]
    assert [segment["precision"] for segment in segment_provenance(recipe)] == ["bf16 by torch on cpu"]


def test_each_precision_has_its_own_store(recipe: Path) -> None:
    by_torch = engine(recipe, runtime="torch", device="cpu")
    fp32_extraction = extract(recipe, engine=by_torch)
    bf16_extraction = extract(with_line(recipe, 'precision = "bf16"'), engine=by_torch)

    stores = [extraction.embeddings[0]["store"] for extraction in (fp32_extraction, bf16_extraction)]

    assert stores[0] != stores[1]
    assert [extraction.n_embedded for extraction in (fp32_extraction, bf16_extraction)] == [48, 48]


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_auto_stays_in_fp32_for_a_named_runtime(recipe: Path, runtime: str, executions_used: list[Execution]) -> None:
    extraction = extract(recipe, engine=engine(recipe, runtime=runtime, device="cpu"))

    assert precisions(extraction) == ["fp32"]
    assert [(execution.runtime, execution.precision) for execution in executions_used] == [(runtime, "fp32")]
    assert not (recipe.parent / "cache" / "benchmarks.json").exists()


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_another_runtime_does_not_reuse_the_stored_precision(recipe: Path) -> None:
    assert precisions(extract(recipe)) == ["bf16 by openvino on cpu"]

    extraction = extract(recipe, engine=engine(recipe, runtime="torch"))

    assert (precisions(extraction), extraction.n_embedded, extraction.n_cached) == (["fp32"], 48, 0)
    study = Study.open(recipe)
    assert [embedding.spec.precision for embedding in locked_embeddings(study)] == ["fp32"]
    assert len(list((recipe.parent / "cache").glob("*.zarr"))) == 2


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_the_same_runtime_reuses_the_stored_precision(recipe: Path, runtime: str) -> None:
    extract(recipe)

    extraction = extract(recipe, engine=engine(recipe, runtime=runtime, device="cpu"))

    assert (precisions(extraction), extraction.n_cached) == (["bf16 by openvino on cpu"], 48)


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("content", ["", "no JSON", '{"a": ', b"\xff\xfe\x00"], ids=repr)
def test_an_unreadable_journal_is_an_error_that_names_the_file(recipe: Path, content: str | bytes) -> None:
    benchmarks = recipe.parent / "cache" / "benchmarks.json"
    benchmarks.parent.mkdir()
    benchmarks.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(FeatxError, match=r"benchmarks\.json cannot be read .*; remove it and run the command"):
        extract(recipe)


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("content", ["[]", "7", "null"])
def test_a_journal_with_other_content_is_an_error(recipe: Path, content: str) -> None:
    benchmarks = recipe.parent / "cache" / "benchmarks.json"
    benchmarks.parent.mkdir()
    benchmarks.write_text(content)

    with pytest.raises(FeatxError, match=r"benchmarks\.json"):
        extract(recipe)


def test_a_named_precision_is_no_error_if_no_image_can_be_decoded(recipe: Path) -> None:
    for number, image in enumerate((recipe.parent / "images").rglob("*.png")):
        image.write_text(f"no picture {number}")
    by_torch = engine(recipe, runtime="torch", device="cpu")
    assert extract(recipe, engine=by_torch).n_unreadable == 48

    assert extract(with_line(recipe, 'precision = "bf16"'), engine=by_torch).n_unreadable == 48


@pytest.mark.usefixtures("low_thresholds")
@needs_bf16
def test_fp32_has_no_deviation_after_a_comparison(recipe: Path) -> None:
    extraction = extract(with_line(recipe, HIGH_LIMIT, old_line=LOW_LIMIT))

    assert precisions(extraction) == ["fp32"]
    assert extraction.embeddings[0]["deviation"] is None
    assert "deviation" not in segment_provenance(recipe)[0]
