"""Quarantine moves files whose content is damaged, and leaves all others where they are.

Modules: embeddings.outcomes.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featx import extract
from featx.embeddings.outcomes import quarantine
from featx.embeddings.workers import CHANGED, TOO_LARGE, WORKER_DIED
from featx.images.contents import MAX_IMAGE_BYTES
from featx.images.readers import read_source
from featx.specs.data import ReaderSpec
from featx.study.study import Study


def write_whole_number_tiff(path: Path) -> None:
    Image.fromarray((np.arange(64).reshape(8, 8) * 100).astype(np.int32)).save(path, "TIFF")


def write_large_file(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_IMAGE_BYTES + 1)


def write_truncated_png(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(stream, "PNG")
    path.write_bytes(stream.getvalue()[:2000])


INTACT: dict[str, tuple[Callable[[Path], object], str]] = {
    "whole-numbers.png": (write_whole_number_tiff, "set decoding.value_range"),
    "large.png": (write_large_file, f"has {MAX_IMAGE_BYTES + 1} bytes, expected at most"),
    "link.png": (lambda path: path.symlink_to("nowhere.png"), "is a broken link"),
}
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.png": (Path.touch, "is empty"),
    "page.png": (lambda path: path.write_text("<html>"), "is not an image of a known format"),
    "half.png": (write_truncated_png, "cannot be decoded: "),
}


def test_only_damaged_files_are_moved(toy_home: Path) -> None:
    recipe, folder = toy_home / "featx.toml", toy_home / "images/dark"
    for name, (write, _) in (INTACT | DAMAGED).items():
        write(folder / name)
    extract(recipe, on_error=Path("bad"))
    outcomes = Study.open(recipe).outcomes.set_index("id")
    for name, (_, reason) in INTACT.items():
        assert os.path.lexists(folder / name)
        assert reason in outcomes.loc[f"dark/{name}", "reason"]
        assert "moved" not in outcomes.loc[f"dark/{name}", "reason"]
    for name, (_, reason) in DAMAGED.items():
        assert outcomes.loc[f"dark/{name}", "reason"].startswith(reason)
        assert outcomes.loc[f"dark/{name}", "reason"].endswith(f"; moved to bad/dark/{name}")
    assert {path.name for path in Path("bad").rglob("*.png")} == DAMAGED.keys()


REASONS = [
    "Permission denied",
    "has 3 frames, expected frame 9 (decoding.frame counts from 0)",
    "has 5 channels without names; choose 1 or 3 by position, such as decoding.bands = [0, 1, 2]",
    "has 99 bytes once decoded, expected at most 9 (decoding.max_bytes)",
    'is DICOM, which needs an extra: pip install "featx[dicom]"',
    'is HEIC, which needs an extra: pip install "featx[heic]"',
    "is too large to be decoded: MemoryError",
    "the object store refuses: Forbidden",
    *(CHANGED, WORKER_DIED, TOO_LARGE),
]


@pytest.mark.parametrize("reason", REASONS)
def test_a_file_that_needs_something_else_stays(reason: str, toy_home: Path) -> None:
    listing = read_source(ReaderSpec(source="images", reader="images"), toy_home)
    outcomes = pd.DataFrame({"id": listing.manifest.ids[:1], "outcome": "unreadable", "reason": reason})
    pd.testing.assert_frame_equal(quarantine(listing, outcomes, Path("bad")), outcomes)
    assert Path(listing.manifest.uris[0]).is_file()
