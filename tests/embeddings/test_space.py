"""What will be written is said before it begins, and refused where the disk does not hold it."""

from pathlib import Path

import pytest

from featx import extract
from featx.embeddings import space
from featx.errors import StoreError
from tests.conftest import TOY_RECIPE, make_images


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images")
    file = tmp_path / "featx.toml"
    file.write_text(TOY_RECIPE)
    return file


def test_the_size_is_said_before_and_not_where_there_is_nothing_to_write(recipe: Path) -> None:
    said: list[tuple[str, str]] = []

    def progress(stage: str, _done: int, _total: int, note: str = "") -> None:
        said.append((stage, note))

    done = extract(recipe, progress=progress)
    rooms = [note for stage, note in said if stage == "disk space"]
    said.clear()
    extract(recipe, progress=progress)

    assert len(rooms) == 1
    assert rooms[0].startswith(f"{space.gigabytes(done.n_embedded * (8 * 4 + 20))} of vectors, ")
    assert "disk space" not in [stage for stage, _ in said]


def test_vectors_that_the_disk_does_not_hold_are_refused_before_anything_is_written(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda folder: 1000)

    with pytest.raises(
        StoreError,
        match=r"^the vectors need .*, but cache has .* free space; the largest embedding is toy/0\.3/avg with 8 ",
    ):
        extract(recipe)

    assert not list(Path("cache").glob("*.zarr"))
