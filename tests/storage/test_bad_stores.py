"""Stores of a newer featx, folders that are none, segments that somebody removed, files of others: one clear line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from featx import extract
from featx.cache.verification import verify
from featx.errors import IncompleteError
from featx.files.seals import read_sealed, write_sealed
from featx.storage.checks import check
from featx.study.study import Study
from tests.conftest import TOY_RECIPE
from tests.rows import stored_rows
from tests.storage.conftest import Complaint, exit_code
from tests.storage.stores import filled, numbered, opened, segments

OTHER = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "max"\n'


def only_store() -> Path:
    (found,) = Path("cache").glob("*.zarr")
    return found


@pytest.fixture
def extracted(toy_home: Path) -> Path:
    """A working directory after ``featx extract``; returns its store."""
    assert exit_code("extract") == 0
    return only_store()


def test_a_store_of_a_newer_format_is_named_and_left_alone(
    extracted: Path, complaint: Complaint, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = Path("cache/toy-0123456789abcdef.zarr")
    shutil.copytree(extracted, newer)
    header = json.loads((newer / "zarr.json").read_text())
    header["attributes"]["featx"]["spec"] |= {"format": 99, "invented": 1}
    (newer / "zarr.json").write_text(json.dumps(header))
    before = {path: path.read_bytes() for path in newer.rglob("*") if path.is_file()}
    said = f"{newer} has format 99, this featx reads up to 1; update featx"
    assert exit_code("extract") == 0
    assert exit_code("fit", "--head", "logreg") == 0
    export = ["export", newer.name, "--to", "x.npz"]
    for words in (["compact"], ["compact", newer.name], ["verify", "--repair"], export):
        assert complaint("cache", *words) == f"error: {said}"
    assert "1 of 2 stores are damaged" in complaint("cache", "verify")
    assert exit_code("cache", "ls") == 0
    assert said in capsys.readouterr().out
    assert {path: path.read_bytes() for path in newer.rglob("*") if path.is_file()} == before


def test_a_recipe_that_a_newer_featx_extracted_stops_the_clearing_up(extracted: Path, complaint: Complaint) -> None:
    lock = Path("runs/featx/embeddings.lock.json")
    fields = read_sealed(lock)
    fields["embeddings"][0]["spec"] |= {"format": 99, "invented": 1}
    write_sealed(lock, fields)
    line = complaint("cache", "gc", "--yes")
    assert line == (
        f"error: {lock} was written by another version of featx (spec.invented: Extra inputs are not permitted): what "
        "it needs is not known; update featx, or remove the file"
    )
    assert check(extracted).is_whole


@pytest.mark.parametrize("made", [Path.mkdir, Path.touch])
def test_what_is_called_like_a_store_and_is_none_is_named_and_left_alone(
    made: object, extracted: Path, complaint: Complaint
) -> None:
    foreign = Path("cache/photos.zarr")
    assert callable(made)
    made(foreign)
    assert exit_code("extract") == 0
    assert exit_code("fit", "--head", "logreg") == 0
    assert exit_code("cache", "ls") == 0
    assert "error: cache/photos.zarr is no embedding store of featx; move it away" in complaint("cache", "compact")
    assert "1 of 2 stores are damaged" in complaint("cache", "verify")
    shutil.move(extracted, "elsewhere")
    made(extracted)
    for command in ("extract", "fit"):
        assert (
            complaint(command) == f"error: {extracted} is no embedding store of featx; move it away and extract again"
        )
    extracted.rmdir() if extracted.is_dir() else extracted.unlink()
    assert exit_code("extract") == 0


def test_two_specs_at_one_folder_are_refused(extracted: Path, complaint: Complaint) -> None:
    Path("featx.toml").write_text(TOY_RECIPE + OTHER)
    assert exit_code("extract") == 0
    (other,) = set(Path("cache").glob("*.zarr")) - {extracted}
    shutil.rmtree(other)
    other.symlink_to(extracted.absolute())
    for command in ("extract", "fit"):
        assert complaint(command) == (
            f"error: {other} was written by another spec: spec.pool is 'avg', expected 'max'; move it away and extract "
            "again"
        )
    other.unlink()
    assert exit_code("extract") == 0
    assert [one.is_whole for one in verify()] == [True, True]


def test_a_segment_that_was_deleted_by_hand_is_embedded_again(toy_home: Path, complaint: Complaint) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(TOY_RECIPE + '\n[extraction]\nruntime = "torch"\nsegment_rows = 16\n')
    extract()
    before = stored_rows(Study.open(None))
    shutil.rmtree(sorted(only_store().glob("segment-*"))[0])
    line = complaint("fit", "--head", "logreg")
    assert "have no embedding 'toy/last/avg,weights=none' in cache/toy-" in line
    assert line.endswith("; run 'featx extract'")
    done = extract()
    assert (done.n_cached, done.n_embedded) == (32, 16)
    assert stored_rows(Study.open(None)) == before


def test_a_segment_that_is_deleted_under_a_reader_is_said_to_be_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "toy.zarr")
    store.add(*numbered(3, 6), 8, {})
    reader = opened(tmp_path / "toy.zarr")
    shutil.rmtree(max(segments(store), key=lambda path: (path / "x" / "c" / "0" / "0").stat().st_size))
    with pytest.raises(IncompleteError, match=r"6 of 9 images have no embedding in .*toy\.zarr, first digest 0"):
        reader.read(numbered(9)[0])
    assert np.array_equal(reader.read(numbered(3, 6)[0]), numbered(3, 6)[1])


def test_files_of_others_in_a_store_and_beside_it_are_ignored_and_kept(extracted: Path) -> None:
    before = stored_rows(Study.open(None))
    foreign = [Path("cache/notes.txt"), Path("cache/.DS_Store"), extracted / ".DS_Store", extracted / "notes.txt"]
    foreign += [Path("cache/.backup/zarr.json"), extracted / "sub" / "zarr.json"]
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert exit_code("extract") == 0
    for words in (["verify"], ["compact"], ["gc", "--yes"], ["ls"]):
        assert exit_code("cache", *words) == 0
    assert stored_rows(Study.open(None)) == before
    assert all(file.is_file() for file in foreign)
