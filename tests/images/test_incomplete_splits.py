"""A given split is kept if some images have no part: they are left out with their number.

Modules: images.readers, images.split_columns.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.images.init import init
from featx.images.readers import NO_PART_RULE, Listing
from featx.images.trees import Entry
from tests.images.listings import png


def write(folder: Path, name: str, content: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def npy(seed: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8))
    return stream.getvalue()


def write_voc(folder: Path) -> None:
    for i in range(24):
        write(folder, f"JPEGImages/{i:02}.png", png(i % 6))
        xml = f"<annotation><object><name>{('cat', 'dog')[i % 2]}</name></object></annotation>"
        write(folder, f"Annotations/{i:02}.xml", xml)
    for part, rows in (("train", range(12)), ("val", range(12, 18))):
        write(folder, f"ImageSets/Main/{part}.txt", "\n".join(f"{i:02}" for i in rows))


def write_label_files(folder: Path) -> None:
    for part, rows in (("train", range(12)), ("val", range(12, 18)), ("extra", range(18, 24))):
        for i in rows:
            write(folder, f"{part}/{i}.png", png(i % 6))
            write(folder, f"{part}/{i}.cls", str(i % 2))


def write_parquet(folder: Path) -> None:
    for part, n in (("train", 12), ("val", 6), ("extra", 6)):
        rows = {"image": [{"bytes": png(i % 6), "path": None} for i in range(n)], "label": [i % 2 for i in range(n)]}
        folder.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / f"{part}-00000-of-00001.parquet")


def write_pixels(folder: Path) -> None:
    lines = ["emotion,pixels,Usage"]
    for i in range(24):
        pixels = " ".join(map(str, np.random.default_rng(i).integers(0, 256, 64)))
        lines.append(f"{i % 2},{pixels},{'Training' if i < 12 else 'PublicTest' if i < 18 else ''}")
    write(folder, "faces.csv", "\n".join(lines))


def write_npy(folder: Path) -> None:
    for part, rows in (("train", range(12)), ("val", range(12, 18)), ("extra", range(18, 24))):
        for i in rows:
            write(folder, f"{part}/{('cat', 'dog')[i % 2]}/{i}.npy", npy(i))


def write_arrays(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 12), ("val", 6), ("extra", 6)):
        arrays |= {f"{part}_images": random.integers(0, 256, (n, 8, 8), dtype=np.uint8)}
        arrays |= {f"{part}_labels": np.arange(n) % 2}
    np.savez(folder / "digits.npz", **arrays)


@pytest.mark.parametrize("fill", [write_voc, write_label_files, write_parquet, write_pixels, write_npy, write_arrays])
def test_images_without_a_part_are_left_out_of_a_given_split(fill: Callable[[Path], None], tmp_path: Path) -> None:
    fill(tmp_path / "d")
    recognition = init(tmp_path / "d", recipe=tmp_path / "r.toml")
    assert recognition.parts == {"train": 12, "val": 6}
    assert recognition.ignored[NO_PART_RULE] == 6
    (warning,) = [text for text in recognition.warnings if "without a part of the given split" in text]
    assert warning.startswith("6 of 24 images without a part of the given split (train, val) are left out, first ")


def listed(parts: list[str | None]) -> Listing:
    entries = [Entry(f"{row}.png", f"/{row}.png") for row in range(len(parts))]
    frame = pd.DataFrame({"y": range(len(parts)), "split": np.array(parts, dtype=object)})
    return Listing.from_entries(entries, frame, {}).with_complete_split()


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        (["train", "train", None], "no split is taken from the parts of the images (train), because 1 of 3 images"),
        (["test", "val"], "no split is taken from the parts of the images (test, val), because no image is in train"),
        (["test", None], "no split is taken from the parts of the images (test), because no image is in train"),
    ],
)
def test_parts_that_are_no_split_are_dropped_with_a_warning(parts: list[str | None], warning: str) -> None:
    listing = listed(parts)
    assert list(listing.manifest.labels.columns) == ["y"]
    assert len(listing) == len(parts)
    assert listing.warnings[0].startswith(warning)


def test_one_part_alone_and_other_words_need_no_warning() -> None:
    assert list(listed(["val", "val"]).manifest.labels.columns) == ["y"]
    for values in (["train", "train"], ["wood", "bone"], ["wood", None]):
        assert list(listed(values).manifest.labels.columns) == ["y", "split"]
    assert listed(["val", "val"]).warnings == listed(["wood", None]).warnings == ()


@pytest.mark.parametrize(
    ("name", "words"), [("split", ("Lernen", "Prüfung")), ("set", ("trn", "tst")), ("split", "AB")]
)
def test_a_split_in_unknown_words_is_reported(name: str, words: Sequence[str], tmp_path: Path) -> None:
    for i in range(24):
        write(tmp_path / "d", f"{i}.png", png(i % 6))
    rows = [f"{i}.png,{('cat', 'dog')[i % 2]},{words[i % 3 == 0]}" for i in range(24)]
    write(tmp_path / "d", "labels.csv", "\n".join([f"file,class,{name}", *rows]))
    recognition = init(tmp_path / "d", recipe=tmp_path / "r.toml")
    (warning,) = [text for text in recognition.warnings if "looks like a split" in text]
    assert warning.startswith(f"column {name!r} looks like a split, but its values (")
    assert all(repr(word) in warning for word in words)
    assert recognition.target == "class"
