"""The size of an extraction is reported before it begins, and too little disk space is an error."""

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


def test_the_size_is_reported_once_and_only_if_vectors_are_missing(recipe: Path) -> None:
    calls: list[tuple[str, str]] = []

    def progress(stage: str, _n_done: int, _total: int, note: str = "") -> None:
        calls.append((stage, note))

    extraction = extract(recipe, progress=progress)
    notes = [note for stage, note in calls if stage == "disk space"]
    calls.clear()
    extract(recipe, progress=progress)

    assert len(notes) == 1
    assert notes[0].startswith(f"{space.gigabytes(extraction.n_embedded * (8 * 4 + 20))} of vectors, ")
    assert "disk space" not in [stage for stage, _ in calls]


def test_too_little_disk_space_is_an_error_before_anything_is_written(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda folder: 1000)

    with pytest.raises(
        StoreError,
        match=r"^the vectors need .*, but cache has .* free space; the largest embedding is toy/0\.3/avg with 8 ",
    ):
        extract(recipe)

    assert not list(Path("cache").glob("*.zarr"))
