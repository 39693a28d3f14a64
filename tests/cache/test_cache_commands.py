"""``featx cache`` on stores of real extractions: list, verify, compact and clear.

Modules: cache.cache_place, cache.clearing, cache.listing, cache.verification, cli.cache_commands,
embeddings.damaged_rows.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx
import featx.cache
from featx.cli.main import main
from featx.errors import DataError
from featx.files.atomic import private_name
from featx.files.seals import write_sealed
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.printed import unwrapped

RunCommand = Callable[..., tuple[int, str, str]]
LARGER_IMAGES = TOY_RECIPE.replace('weights = "none"', 'weights = "none"\nsize_px = 20')


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Return a function that runs a command and returns its exit code, output and errors."""

    def run(words: str, answer: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["featx", *words.split()])
        monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return int(exit_info.value.code or 0), output.out, output.err

    return run


@pytest.fixture
def store(toy_home: Path) -> Path:
    """Return the store of an extraction of 48 images."""
    featx.extract()
    (path,) = Path("cache").glob("*.zarr")
    return path


def vectors(path: Path) -> dict[str, list[float]]:
    embeddings = open_store(path)
    return dict(zip(embeddings.digests, embeddings.read(embeddings.digests).tolist(), strict=True))


def break_row(store: Path, row: int) -> str:
    """Flip a bit of one row of a store's only segment; return the image's digest."""
    embeddings = open_store(store)
    (segment,) = embeddings.segments
    file = store / segment.name / "x" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[row * embeddings.n_features * 4 + 5] ^= 16
    file.write_bytes(content)
    return segment.keys[row : row + 1].tobytes().hex()


def test_a_cache_is_listed_with_the_recipes_that_need_it(store: Path, run_command: RunCommand) -> None:
    (listing,) = featx.cache.ls()
    assert (listing.embedding, listing.n_images, listing.n_rows, listing.n_segments, listing.recipes) == (
        "toy/0.3/avg",
        48,
        48,
        1,
        ["featx"],
    )
    assert listing.n_bytes == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    code, out, _ = run_command("cache ls")
    assert code == 0
    assert store.name in out
    assert out.splitlines()[-1].startswith("1 stores, ")
    shutil.rmtree("runs")
    assert json.loads(run_command("cache ls --json")[1])["stores"][0]["recipes"] == []


def test_an_intact_cache_is_reported_as_intact(store: Path, run_command: RunCommand) -> None:
    code, out, _ = run_command("cache verify")
    assert (code, out.strip()) == (0, f"{store}: 48 rows in 1 segments, all checksums are right")


def test_a_broken_row_is_named_and_only_it_is_embedded_again(store: Path, run_command: RunCommand) -> None:
    vectors_before = vectors(store)
    digest = break_row(store, 7)
    manifest = Study.open(None).manifest
    name = str(manifest.ids[manifest.digests.tolist().index(digest)])
    code, out, err = run_command("cache verify")
    assert code == 1
    assert f"    {name}\n" in out
    assert "x does not match its checksum; 1 rows damaged, 47 intact" in unwrapped(out)
    assert err.strip().endswith("error: 1 of 1 stores are damaged; run 'featx cache verify --repair'")

    code, out, _ = run_command("cache verify --repair")
    assert code == 0
    assert "repaired: 1 of 1 damaged rows embedded again" in out
    assert vectors(store) == vectors_before
    assert run_command("cache verify")[0] == 0
    assert [len(segment) for segment in open_store(store).segments if len(segment) == 1] == [1]


def test_a_repair_embeds_nothing_but_the_lost_rows(store: Path) -> None:
    vectors_before = vectors(store)
    break_row(store, 7)
    make_images(Path("images"), ("new",), n_each=2)
    Path("featx.toml").write_text(
        Path("featx.toml").read_text() + '\n[[embedding]]\nbackbone = "deep"\nweights = "none"\n'
    )

    (result,) = featx.cache.verify(repair=True)

    assert result.n_embedded == 1
    assert list(Path("cache").glob("*.zarr")) == [store]
    assert vectors(store) == vectors_before


def test_lost_rows_of_another_cache_are_embedded_there(store: Path) -> None:
    vectors_before = vectors(store)
    Path("cache").rename("other")
    break_row(Path("other") / store.name, 7)

    (result,) = featx.cache.verify(cache="other", repair=True)

    assert result.n_embedded == 1
    assert vectors(Path("other") / store.name) == vectors_before
    assert list(Path("cache").glob("*.zarr")) == []


def test_a_store_that_cannot_be_repaired_does_not_stop_the_others(store: Path, run_command: RunCommand) -> None:
    vectors_before = vectors(store)
    break_row(store, 7)
    folder = store.with_name("a-folder.zarr")
    folder.mkdir()
    (folder / "notes.txt").write_text("no store")

    code, out, err = run_command("cache verify --repair")

    assert code == 1
    assert "not repaired: cache/a-folder.zarr is no embedding store of featx" in unwrapped(out)
    assert "error: cache/a-folder.zarr is no embedding store of featx" in unwrapped(err)
    assert "repaired: 1 of 1 damaged rows embedded again" in out
    assert vectors(store) == vectors_before


@pytest.mark.parametrize("array", ["x", "digest", "crc"])
@pytest.mark.parametrize("n_bytes", [0, 3, 90])
def test_intact_rows_of_a_truncated_file_are_kept(
    store: Path, run_command: RunCommand, array: str, n_bytes: int
) -> None:
    vectors_before = vectors(store)
    (segment,) = store.glob("segment-*")
    (file,) = (path for path in (segment / array / "c").rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:n_bytes])
    assert run_command("cache verify")[0] == 1
    assert run_command("cache verify --repair")[0] == 0
    assert vectors(store) == vectors_before
    assert run_command("cache verify")[0] == 0


def test_a_changed_header_is_restored_from_the_recipe(store: Path, run_command: RunCommand) -> None:
    vectors_before = vectors(store)
    header = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(header.replace('"n_features": 8', '"n_features": 9'))
    code, out, _ = run_command("cache verify")
    assert code == 1
    assert "was changed after it was written" in unwrapped(out)
    assert run_command("cache verify --repair")[0] == 0
    assert (store / "zarr.json").read_text() == header
    assert vectors(store) == vectors_before


def test_rows_that_no_recipe_needs_are_reported_as_lost(store: Path, run_command: RunCommand) -> None:
    break_row(store, 3)
    Path("featx.toml").rename("elsewhere.toml")
    code, _, err = run_command("cache verify --repair")
    assert code == 1
    assert "1 damaged rows could not be embedded again; run 'featx extract' with the recipe that uses them" in err


def test_segments_of_two_extractions_are_joined(store: Path, run_command: RunCommand) -> None:
    make_images(Path("images"), ("dark", "light", "mid"), n_each=26)
    featx.extract()
    vectors_before = vectors(store)
    code, out, _ = run_command("cache compact")
    assert code == 0
    assert re.search(r"images in 1 segments \(before: [2-9]\)", out)  # one more where the machine was slow
    assert vectors(store) == vectors_before
    assert featx.extract().n_embedded == 0


def test_a_broken_store_does_not_stop_the_compaction_of_others(store: Path, run_command: RunCommand) -> None:
    make_images(Path("images"), ("dark", "light", "mid"), n_each=26)
    broken_store = Path(shutil.copytree(store, store.with_name(f"a-{store.name}")))
    featx.extract()
    (next(broken_store.glob("segment-*")) / "digest" / "c" / "0" / "0").write_bytes(b"")
    code, _, err = run_command("cache compact")
    assert code == 1
    assert f"error: {broken_store}/" in err
    assert "(1 of 2 stores were left unchanged, the others compacted)" in err
    assert len(list(store.glob("segment-*"))) == 1


def test_only_leftovers_of_dead_writers_are_removed(store: Path, run_command: RunCommand) -> None:
    name = private_name(store.name)
    machine, _, start_time, mark = name.rpartition(".")[2].split("-")
    dead = store.parent / f".{store.name}.{machine}-{2**22 - 1}-{start_time}-{mark}"
    live = store.parent / name
    for folder in (dead, live):
        shutil.copytree(store, folder)
    assert "unfinished files of killed writers: 1, would be removed" in run_command("cache gc --dry-run")[1]
    assert dead.exists()
    assert "unfinished files of killed writers: 1, removed" in run_command("cache gc")[1]
    assert not dead.exists()
    assert live.exists()
    assert store.exists()


def test_unneeded_stores_are_removed_after_confirmation(store: Path, run_command: RunCommand) -> None:
    Path("featx.toml").write_text(LARGER_IMAGES)
    featx.extract()
    shutil.rmtree("runs")
    featx.extract()
    (needed_store,) = (path for path in Path("cache").glob("*.zarr") if path != store)
    assert f"{store.name}: would be removed" in run_command("cache gc --dry-run")[1]
    assert f"{store.name}: kept" in run_command("cache gc", "n")[1]
    assert store.exists()
    assert f"{store.name}: removed" in run_command("cache gc", "y")[1]
    assert (store.exists(), needed_store.exists()) == (False, True)
    assert json.loads(run_command("cache gc --json --yes")[1])["unneeded"] == []


def test_folders_that_are_no_valid_stores_are_kept_and_reported(store: Path, run_command: RunCommand) -> None:
    foreign, damaged = store.with_name("mydata.zarr"), store.with_name("toy-0123456789abcdef.zarr")
    (foreign / "segment-old").mkdir(parents=True)
    (foreign / "segment-old" / "data").write_text("x")
    (foreign / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    shutil.copytree(store, damaged)
    header = damaged / "zarr.json"
    header.write_text(header.read_text().replace("avg", "max"))
    files_before = sorted(Path("cache").rglob("*"))
    code, out, _ = run_command("cache gc --yes")
    assert code == 0
    for name in (foreign.name, damaged.name):
        assert f"{name}: kept, because it is no store of featx, or its header is damaged" in " ".join(out.split())
    assert sorted(Path("cache").rglob("*")) == files_before
    result = json.loads(run_command("cache gc --json --yes")[1])
    assert (result["unneeded"], result["invalid_stores"]) == ([], [foreign.name, damaged.name])


def test_without_a_recipe_in_sight_nothing_is_unneeded(store: Path, run_command: RunCommand) -> None:
    shutil.rmtree("runs")
    code, out, _ = run_command("cache gc --yes")
    assert code == 0
    assert "no recipe is known, so all stores are kept" in out
    assert store.exists()


def interrupt_after_32_images(stage: str, n_done: int, total: int, note: str = "") -> None:
    if stage == "embed" and n_done > 32:
        raise KeyboardInterrupt


def test_the_store_of_a_running_or_interrupted_extraction_is_kept(store: Path) -> None:
    Path("other.toml").write_text(LARGER_IMAGES)

    def clear(stage: str, n_done: int, total: int, note: str = "") -> None:
        assert featx.cache.gc(agree=lambda _: True).unneeded == []
        interrupt_after_32_images(stage, n_done, total, note)

    with pytest.raises(KeyboardInterrupt):
        featx.extract("other.toml", progress=clear)
    assert featx.cache.gc(agree=lambda _: True).unneeded == []
    assert len(list(Path("cache").glob("*.zarr"))) == 2


def test_an_extraction_that_begins_before_the_confirmation_keeps_its_store(store: Path) -> None:
    Path("other.toml").write_text(LARGER_IMAGES)
    featx.extract("other.toml")
    shutil.rmtree("runs/other")

    def agree(names: list[str]) -> bool:
        featx.extract("other.toml")
        return len(names) == 1

    result = featx.cache.gc(agree=agree)

    assert (result.unneeded, result.n_bytes) == ([], 0)
    assert len(list(Path("cache").glob("*.zarr"))) == 2


def test_the_store_of_a_replaced_embedding_is_unneeded(store: Path) -> None:
    Path("featx.toml").write_text(LARGER_IMAGES)
    with pytest.raises(KeyboardInterrupt):
        featx.extract(progress=interrupt_after_32_images)
    assert featx.cache.gc().unneeded == []
    Path("featx.toml").write_text(TOY_RECIPE + '\n[decoding]\nbackground = "#000000"\n')
    featx.extract()

    (needed_embedding,) = Study.open(None).locked
    unneeded = featx.cache.gc(agree=lambda _: True).unneeded

    assert len(unneeded) == 2
    assert store.name in unneeded
    assert [path.name for path in Path("cache").glob("*.zarr")] == [
        Path(Study.open(None).store_path(needed_embedding.spec)).name
    ]


def test_replaced_embeddings_of_runs_stay_recorded(store: Path) -> None:
    featx.fit(heads=["logreg"])
    Path("featx.toml").write_text(LARGER_IMAGES)
    featx.extract()

    assert [embedding.request.size_px for embedding in Study.open(None).locked] == [None, 20]
    assert featx.cache.gc().unneeded == []


def test_a_model_alone_makes_its_embedding_needed(store: Path) -> None:
    featx.fit(heads=["logreg"])
    for lock in Path("runs").rglob("*.lock.json"):
        write_sealed(lock, {"embeddings": []})
    assert featx.cache.gc().unneeded == []


def test_plain_zarr_reads_a_store_as_the_docs_say(store: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cache.md").read_text()
    (code,) = re.findall(r"<!-- run: zarr -->\n```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code.replace("cache/efficientnet_lite0-….zarr", str(store)), namespace)
    assert {digest: row.tolist() for digest, row in namespace["vector_of"].items()} == vectors(store)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "cache ls --cache nowhere",
            "there is no cache at nowhere; name one with '--cache', or run 'featx extract' first",
        ),
        ("cache verify nothing", "no store in cache is called 'nothing'; stores: toy-"),
        ("cache export nothing --to a.npz", "no extracted embedding or store is called 'nothing'"),
        ("cache export toy --to a.csv", "a.csv: found the ending '.csv', expected one of .npz, .h5, .parquet"),
    ],
)
def test_errors_are_reported_in_one_line(store: Path, run_command: RunCommand, words: str, message: str) -> None:
    code, _, err = run_command(words)
    assert code == 1
    (line,) = [error_line for error_line in err.splitlines() if error_line.startswith("error: ")]
    assert message in line


def test_a_store_of_a_newer_format_is_reported(store: Path, run_command: RunCommand) -> None:
    header = json.loads((store / "zarr.json").read_text())
    header["attributes"]["featx"]["spec"]["format"] = 2
    (store / "zarr.json").write_text(json.dumps(header))
    assert "has format 2, this featx reads up to 1; update featx" in unwrapped(run_command("cache ls")[1])
    assert run_command("extract")[2].strip().endswith("has format 2, this featx reads up to 1; update featx")


def test_the_recipe_in_the_environment_decides_the_cache(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_row(store, 3)
    Path("featx.toml").rename("featx_.toml")
    Path("runs/featx").rename("runs/featx_")
    monkeypatch.setenv("FEATX_RECIPE", "featx_.toml")
    (result,) = featx.cache.verify(repair=True)
    assert result.n_embedded == 1


def test_a_copied_cache_is_read_at_its_new_place(store: Path, toy_home: Path) -> None:
    shutil.copytree("cache", "moved")
    shutil.rmtree("cache")
    with pytest.raises(DataError, match="there is no cache at cache"):
        featx.cache.ls()
    (result,) = featx.cache.verify(cache="moved")
    assert result.is_whole
    assert len(vectors(Path("moved") / store.name)) == 48
