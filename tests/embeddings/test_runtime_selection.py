"""What `auto` chooses: nothing for few images, and for many what a trial finds, which is remembered."""

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
from featx.embeddings.runtimes import Execution, Portable, is_native
from featx.errors import DeviceError, FeatxError
from featx.progress import no_progress
from featx.specs.embedding import Reduced
from featx.specs.extraction import EngineSpec
from featx.study.study import Study

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
EASY = "\n[extraction]\nleast_cosine = 0.5\n"
STRICT = "\n[extraction]\nleast_cosine = 0.9999999\n"
BF16 = Reduced(dtype="bf16", runtime="openvino", device="cpu")
needs_bf16 = pytest.mark.skipif(not is_native("bf16"), reason="this CPU does not multiply bf16 by itself")


@pytest.fixture
def recipe(toy_home: Path) -> Path:
    """The toy recipe, its results beside it, content with any precision that is not far off."""
    file = toy_home / "featx.toml"
    file.write_text(file.read_text() + PLACES + EASY)
    return file


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 48 images many, and each trial short."""
    monkeypatch.setattr("featx.embeddings.runtime_selection.MIN_IMAGES_TO_BENCHMARK", 30)
    monkeypatch.setattr("featx.embeddings.runtime_selection.MIN_IMAGES_TO_REDUCE", 30)
    monkeypatch.setattr("featx.embeddings.benchmarks.MIN_SECONDS_TO_BENCHMARK", 0.0)
    monkeypatch.setattr("featx.embeddings.benchmarks.BENCHMARK_S", 0.02)


@pytest.fixture
def made_ready(monkeypatch: pytest.MonkeyPatch) -> list[Execution]:
    """Return the list of all ways in which networks are made ready from now on."""
    found: list[Execution] = []
    real = Portable.ready

    def ready(self: Portable, how: Execution, rows: int | None = None) -> Any:
        found.append(how)
        return real(self, how, rows)

    monkeypatch.setattr(Portable, "ready", ready)
    return found


def saying(recipe: Path, line: str, old: str = "") -> Path:
    """Change a line of a recipe, or add one to its embedding."""
    text, first = recipe.read_text(), 'weights = "none"'
    recipe.write_text(text.replace(old, line) if old else text.replace(first, f"{first}\n{line}"))
    assert recipe.read_text() != text
    return recipe


def trials_of(recipe: Path) -> dict[str, Any]:
    """Read all that was remembered of the one network that was tried."""
    (found,) = json.loads((recipe.parent / "cache" / "trials.json").read_text()).values()
    return dict(found)


def precisions(done: Extraction) -> list[str]:
    return [one["precision"] for one in done.embeddings]


def made_by(recipe: Path) -> list[dict[str, Any]]:
    """Return what the segments of all stores say of themselves."""
    files = sorted((recipe.parent / "cache").glob("*.zarr/segment-*/zarr.json"))
    return [json.loads(file.read_text())["attributes"]["featx"] for file in files]


def vectors(recipe: Path) -> dict[str, bytes]:
    study = Study.open(recipe)
    ids = study.manifest.ids
    return {name: row.tobytes() for name, row in zip(ids, read_embeddings(study, ids, study.locked).x, strict=True)}


def test_few_images_are_embedded_in_fp32_by_eager_torch_and_nothing_is_remembered(recipe: Path) -> None:
    done = extract(recipe)

    assert precisions(done) == ["fp32"]
    assert [(one["runtime"].split()[0], one["precision"]) for one in made_by(recipe)] == [("torch", "fp32")]
    assert not (recipe.parent / "cache" / "trials.json").exists()


@pytest.mark.usefixtures("many")
@needs_bf16
def test_many_images_are_embedded_in_the_precision_that_was_found_close_enough(recipe: Path) -> None:
    done = extract(recipe)

    assert precisions(done) == ["bf16 by openvino on cpu"]
    assert done.n_embedded == 48
    drift = done.embeddings[0]["drift"]
    assert drift["n_images"] == 48
    assert 0.5 < drift["cosine"] < 1
    (segment,) = made_by(recipe)
    assert (segment["precision"], segment["drift"]) == ("bf16 by openvino on cpu", drift)
    (known,) = trials_of(recipe).values()
    assert (Reduced.model_validate(known["precision"]), known["drift"]) == (BF16, drift)


@pytest.mark.usefixtures("many")
def test_many_images_in_fp32_are_embedded_by_a_runtime_that_was_tried(
    recipe: Path, made_ready: list[Execution]
) -> None:
    extract(saying(recipe, 'precision = "fp32"'))

    assert made_ready == [Execution(name, "cpu") for name in CPU_RUNTIMES]
    assert set(trials_of(recipe)) == {"speeds"}
    speeds = trials_of(recipe)["speeds"]
    assert set(speeds) == set(CPU_RUNTIMES)
    assert all(one["images_per_s"] > 0 and one["build_s"] >= 0 for one in speeds.values())


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("line", ['precision = "auto"', 'precision = "fp32"'])
def test_what_was_tried_is_not_tried_again(recipe: Path, made_ready: list[Execution], line: str) -> None:
    extract(saying(recipe, line))
    trials = recipe.parent / "cache" / "trials.json"
    before, tried, rows = trials.stat().st_mtime_ns, len(made_ready), vectors(recipe)
    shutil.rmtree(recipe.parent / "runs")
    for store in (recipe.parent / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    made_ready.clear()

    done = extract(recipe)

    assert done.n_embedded == 48
    assert trials.stat().st_mtime_ns == before
    assert len(made_ready) == 1 < tried
    if isinstance(made_ready[0].precision, Reduced):  # in fp32 the runtime may be another one
        assert vectors(recipe) == rows


@pytest.mark.usefixtures("many")
@needs_bf16
def test_another_recipe_that_shares_the_cache_has_the_same_choice_and_embeds_nothing_anew(
    recipe: Path, made_ready: list[Execution]
) -> None:
    first = extract(recipe)
    rows = vectors(recipe)
    other = recipe.with_name("other.toml")
    other.write_text(recipe.read_text())
    made_ready.clear()

    done = extract(other)

    assert (done.recipe, done.n_cached, done.n_embedded) == ("other", 48, 0)
    assert done.embeddings == first.embeddings
    assert made_ready == []
    assert vectors(other) == rows


@pytest.mark.usefixtures("many")
@needs_bf16
def test_few_images_of_another_recipe_are_in_fp32_in_whatever_precision_they_are_stored(recipe: Path) -> None:
    extract(recipe)
    other = recipe.with_name("other.toml")
    table = pd.DataFrame({"path": [f"images/dark/{at:03}.png" for at in range(6)], "class": ["a", "b"] * 3})
    table.to_csv(recipe.parent / "few.csv", index=False)
    split = "test = 0.25\nval = 0.25"
    other.write_text(
        recipe.read_text()
        .replace('source = "images"', 'source = "."\nlabels = { file = "few.csv" }')
        .replace(split, "test = 0\nval = 0")
    )

    done = extract(other)

    assert (done.n_embedded, precisions(done)) == (6, ["fp32"])


@pytest.mark.usefixtures("many")
@needs_bf16
def test_few_images_that_nobody_stored_are_embedded_in_fp32_whatever_is_known(recipe: Path) -> None:
    extract(recipe)
    for store in (recipe.parent / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    shutil.rmtree(recipe.parent / "runs")
    for image in (recipe.parent / "images").glob("*/0[12]*.png"):
        image.unlink()

    assert precisions(extract(recipe)) == ["fp32"]


def test_what_is_tried_on_does_not_depend_on_the_order_of_the_images(recipe: Path) -> None:
    extract(recipe)
    study = Study.open(recipe)
    uris = dict(zip(study.manifest.digests, study.manifest.uris, strict=True))
    (group,) = network_groups(study.recipe.requests)
    orders = [list(uris), list(reversed(uris)), sorted(uris), [list(uris)[at] for at in range(-20, 28)]]

    tried_on = [
        RuntimeSelector(
            study.cache, EngineSpec(device="cpu"), {digest: uris[digest] for digest in order}, no_progress, sample=16
        ).decode_sample(group)
        for order in orders
    ]

    assert tried_on[0].shape == (16, 16, 16, 3)
    assert len(np.unique(tried_on[0], axis=0)) == 16
    assert all(one.tobytes() == tried_on[0].tobytes() for one in tried_on)


@pytest.mark.usefixtures("many")
@needs_bf16
def test_the_choice_does_not_depend_on_the_order_of_the_images(recipe: Path) -> None:
    first = extract(recipe)
    turned = recipe.parent / "turned"
    shutil.copytree(recipe.parent / "images", turned / "images")
    names = sorted(str(path.relative_to(turned)) for path in (turned / "images").rglob("*.png"))
    table = pd.DataFrame({"path": names[::-1], "class": ["dark", "light"] * 24})
    table.to_csv(turned / "labels.csv", index=False)
    (turned / "featx.toml").write_text(
        recipe.read_text().replace('source = "images"', 'source = "."\nlabels = { file = "labels.csv" }')
    )

    done = extract(turned / "featx.toml")

    fields = ("precision", "drift")
    assert [[one[name] for name in fields] for one in done.embeddings] == [
        [one[name] for name in fields] for one in first.embeddings
    ]


@pytest.mark.usefixtures("many")
def test_fp32_is_never_reduced(recipe: Path, made_ready: list[Execution]) -> None:
    done = extract(saying(recipe, 'precision = "fp32"'))

    assert precisions(done) == ["fp32"]
    assert {how.precision for how in made_ready} == {"fp32"}
    assert done.embeddings[0]["drift"] is None


@pytest.mark.usefixtures("many")
def test_auto_takes_fp32_where_no_precision_is_close_enough(recipe: Path) -> None:
    done = extract(saying(recipe, STRICT, old=EASY))

    assert (precisions(done), done.n_embedded) == (["fp32"], 48)
    assert {one["precision"] for one in made_by(recipe)} == {"fp32"}


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_a_precision_that_is_named_and_strays_too_far_is_one_error(recipe: Path, runtime: str) -> None:
    if runtime == "auto" and not is_native("bf16"):
        pytest.skip("this CPU does not multiply bf16 by itself")
    saying(saying(recipe, STRICT, old=EASY), 'precision = "bf16"')

    for _ in range(2):  # asked again, what is remembered answers
        with pytest.raises(
            DeviceError,
            match=r"^precision = 'bf16' is not accurate enough on this machine: compared with fp32 on 48 images: .*; "
            r"expected lowest cosines of 0\.9999999 or more \(extraction\.least_cosine\); set precision = 'fp32'$",
        ) as raised:
            extract(recipe, engine=engine(recipe, runtime=runtime))
        assert "\n" not in str(raised.value)

    assert not list((recipe.parent / "cache").glob("*.zarr"))


def engine(recipe: Path, **said: Any) -> EngineSpec:
    """Return a recipe's engine, some of it said anew."""
    return EngineSpec.model_validate(Study.open(recipe).recipe.extraction.model_dump() | said)


def test_a_precision_that_is_named_is_taken_for_few_images_as_well(recipe: Path) -> None:
    done = extract(saying(recipe, 'precision = "bf16"'), engine=engine(recipe, runtime="torch", device="cpu"))

    assert precisions(done) == ["bf16 by torch on cpu"]
    assert [one["precision"] for one in made_by(recipe)] == ["bf16 by torch on cpu"]


def test_each_precision_has_a_store_of_its_own(recipe: Path) -> None:
    by_torch = engine(recipe, runtime="torch", device="cpu")
    exact = extract(recipe, engine=by_torch)
    reduced = extract(saying(recipe, 'precision = "bf16"'), engine=by_torch)

    stores = [done.embeddings[0]["store"] for done in (exact, reduced)]

    assert stores[0] != stores[1]
    assert [done.n_embedded for done in (exact, reduced)] == [48, 48]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_auto_stays_in_fp32_for_a_runtime_that_is_named(
    recipe: Path, runtime: str, made_ready: list[Execution]
) -> None:
    done = extract(recipe, engine=engine(recipe, runtime=runtime, device="cpu"))

    assert precisions(done) == ["fp32"]
    assert [(how.runtime, how.precision) for how in made_ready] == [(runtime, "fp32")]
    assert not (recipe.parent / "cache" / "trials.json").exists()


@pytest.mark.usefixtures("many")
@needs_bf16
def test_what_was_noted_in_a_precision_is_left_where_another_runtime_is_asked_for(recipe: Path) -> None:
    assert precisions(extract(recipe)) == ["bf16 by openvino on cpu"]

    done = extract(recipe, engine=engine(recipe, runtime="torch"))

    assert (precisions(done), done.n_embedded, done.n_cached) == (["fp32"], 48, 0)
    study = Study.open(recipe)
    assert [one.spec.precision for one in locked_embeddings(study)] == ["fp32"]
    assert len(list((recipe.parent / "cache").glob("*.zarr"))) == 2


@pytest.mark.usefixtures("many")
@needs_bf16
@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_what_was_noted_in_a_precision_holds_for_its_own_runtime(recipe: Path, runtime: str) -> None:
    extract(recipe)

    done = extract(recipe, engine=engine(recipe, runtime=runtime, device="cpu"))

    assert (precisions(done), done.n_cached) == (["bf16 by openvino on cpu"], 48)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("content", ["", "no JSON", '{"a": ', b"\xff\xfe\x00"], ids=repr)
def test_trials_that_cannot_be_read_are_one_error_that_names_the_file(recipe: Path, content: str | bytes) -> None:
    trials = recipe.parent / "cache" / "trials.json"
    trials.parent.mkdir()
    trials.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(FeatxError, match=r"trials\.json cannot be read .*; remove it and run the command"):
        extract(recipe)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("content", ["[]", "7", "null"])
def test_trials_that_hold_something_else_are_a_featx_error(recipe: Path, content: str) -> None:
    trials = recipe.parent / "cache" / "trials.json"
    trials.parent.mkdir()
    trials.write_text(content)

    with pytest.raises(FeatxError, match=r"trials\.json"):
        extract(recipe)


def test_a_precision_that_is_named_is_not_blamed_for_images_that_cannot_be_decoded(recipe: Path) -> None:
    for number, image in enumerate((recipe.parent / "images").rglob("*.png")):
        image.write_text(f"no picture {number}")
    by_torch = engine(recipe, runtime="torch", device="cpu")
    assert extract(recipe, engine=by_torch).n_unreadable == 48

    assert extract(saying(recipe, 'precision = "bf16"'), engine=by_torch).n_unreadable == 48


@pytest.mark.usefixtures("many")
@needs_bf16
def test_fp32_has_no_drift_whatever_was_tried_before(recipe: Path) -> None:
    done = extract(saying(recipe, STRICT, old=EASY))

    assert precisions(done) == ["fp32"]
    assert done.embeddings[0]["drift"] is None
    assert "drift" not in made_by(recipe)[0]
