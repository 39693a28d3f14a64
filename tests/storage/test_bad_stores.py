"""Errors for stores of a newer featx, folders that are no stores, removed segments and foreign files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from featx import extract
from featx.cache.verification import verify
from featx.errors import IncompleteError
from featx.files.seals import read_sealed, write_sealed
from featx.storage.checks import check_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE
from tests.printed import unwrapped
from tests.rows import stored_rows
from tests.storage.conftest import FailingCommand, exit_code
from tests.storage.stores import make_rows, make_store, open_toy_store, segments

OTHER = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "max"\n'


def only_store() -> Path:
    (store,) = Path("cache").glob("*.zarr")
    return store


@pytest.fixture
def extracted(toy_home: Path) -> Path:
    """Run ``featx extract`` in the working directory; return its store."""
    assert exit_code("extract") == 0
    return only_store()


def test_a_store_of_a_newer_format_is_reported_and_unchanged(
    extracted: Path, fail_command: FailingCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = Path("cache/toy-0123456789abcdef.zarr")
    shutil.copytree(extracted, newer)
    header = json.loads((newer / "zarr.json").read_text())
    header["attributes"]["featx"]["spec"] |= {"format": 99, "invented": 1}
    (newer / "zarr.json").write_text(json.dumps(header))
    content_before = {path: path.read_bytes() for path in newer.rglob("*") if path.is_file()}
    message = f"{newer} has format 99, this featx reads up to 1; update featx"
    assert exit_code("extract") == 0
    assert exit_code("fit", "--head", "logreg") == 0
    export = ["export", newer.name, "--to", "x.npz"]
    for words in (["compact"], ["compact", newer.name], ["verify", "--repair"], export):
        assert fail_command("cache", *words) == f"error: {message}"
    assert "1 of 2 stores are damaged" in fail_command("cache", "verify")
    assert exit_code("cache", "ls") == 0
    assert message in unwrapped(capsys.readouterr().out)
    assert {path: path.read_bytes() for path in newer.rglob("*") if path.is_file()} == content_before


def test_a_recipe_of_a_newer_featx_stops_gc(extracted: Path, fail_command: FailingCommand) -> None:
    lock = Path("runs/featx/embeddings.lock.json")
    fields = read_sealed(lock)
    fields["embeddings"][0]["spec"] |= {"format": 99, "invented": 1}
    write_sealed(lock, fields)
    line = fail_command("cache", "gc", "--yes")
    assert line == (
        f"error: {lock} was written by another version of featx (spec.invented: Extra inputs are not permitted): the "
        "embeddings that it needs are unknown; update featx, or remove the file"
    )
    assert check_store(extracted).is_whole


@pytest.mark.parametrize("create", [Path.mkdir, Path.touch])
def test_a_path_with_the_name_of_a_store_is_reported_and_unchanged(
    create: object, extracted: Path, fail_command: FailingCommand
) -> None:
    foreign_path = Path("cache/photos.zarr")
    assert callable(create)
    create(foreign_path)
    assert exit_code("extract") == 0
    assert exit_code("fit", "--head", "logreg") == 0
    assert exit_code("cache", "ls") == 0
    assert "error: cache/photos.zarr is no embedding store of featx; move it away" in fail_command("cache", "compact")
    assert "1 of 2 stores are damaged" in fail_command("cache", "verify")
    shutil.move(extracted, "elsewhere")
    create(extracted)
    for command in ("extract", "fit"):
        assert (
            fail_command(command)
            == f"error: {extracted} is no embedding store of featx; move it away and extract again"
        )
    extracted.rmdir() if extracted.is_dir() else extracted.unlink()
    assert exit_code("extract") == 0


def test_two_specs_at_one_folder_are_refused(extracted: Path, fail_command: FailingCommand) -> None:
    Path("featx.toml").write_text(TOY_RECIPE + OTHER)
    assert exit_code("extract") == 0
    (second,) = set(Path("cache").glob("*.zarr")) - {extracted}
    shutil.rmtree(second)
    second.symlink_to(extracted.absolute())
    for command in ("extract", "fit"):
        assert fail_command(command) == (
            f"error: {second} was written by another spec: spec.pool is 'avg', expected 'max'; move it away and "
            "extract again"
        )
    second.unlink()
    assert exit_code("extract") == 0
    assert [check.is_whole for check in verify()] == [True, True]


def test_a_segment_that_was_deleted_by_hand_is_embedded_again(toy_home: Path, fail_command: FailingCommand) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(TOY_RECIPE + '\n[extraction]\nruntime = "torch"\nsegment_rows = 16\n')
    extract()
    rows_before = stored_rows(Study.open(None))
    shutil.rmtree(sorted(only_store().glob("segment-*"))[0])
    line = fail_command("fit", "--head", "logreg")
    assert "have no embedding 'toy/last/avg,weights=none' in cache/toy-" in line
    assert line.endswith("; run 'featx extract'")
    result = extract()
    assert (result.n_cached, result.n_embedded) == (32, 16)
    assert stored_rows(Study.open(None)) == rows_before


def test_a_segment_deleted_during_reading_is_reported_as_missing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy.zarr")
    store.add(*make_rows(3, 6), 8, {})
    reader = open_toy_store(tmp_path / "toy.zarr")
    shutil.rmtree(max(segments(store), key=lambda path: (path / "x" / "c" / "0" / "0").stat().st_size))
    with pytest.raises(IncompleteError, match=r"6 of 9 images have no embedding in .*toy\.zarr, first digest 0"):
        reader.read(make_rows(9)[0])
    assert np.array_equal(reader.read(make_rows(3, 6)[0]), make_rows(3, 6)[1])


def test_foreign_files_in_and_beside_a_store_are_ignored(extracted: Path) -> None:
    rows_before = stored_rows(Study.open(None))
    foreign_files = [Path("cache/notes.txt"), Path("cache/.DS_Store"), extracted / ".DS_Store", extracted / "notes.txt"]
    foreign_files += [Path("cache/.backup/zarr.json"), extracted / "sub" / "zarr.json"]
    foreign_files += [extracted / "segment-notes" / "a.txt"]
    for file in foreign_files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert exit_code("extract") == 0
    for words in (["verify"], ["compact"], ["gc", "--yes"], ["ls"]):
        assert exit_code("cache", *words) == 0
    assert stored_rows(Study.open(None)) == rows_before
    assert all(file.is_file() for file in foreign_files)
