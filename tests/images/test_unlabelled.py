"""Images of any place are listed without labels, with the ids of an extraction."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from featx.errors import DataError
from featx.images.init import init, recognise
from featx.images.readers import read_source
from featx.images.sources import read_content
from featx.images.unlabelled import UnlabelledImages, list_images
from tests.layouts import CODES, NAMES, PIXELS, PNGS, on_disk, write_tar, write_zip

IMAGES = dict(zip(NAMES, PNGS, strict=True))
FLAT = {f"{row}.png": png for row, png in enumerate(PNGS)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(images: UnlabelledImages) -> list[bytes]:
    """Return the bytes of the listed images; arrays as bytes of their values."""
    image_contents = [read_content(uri) for uri in images.uris]
    return [content if isinstance(content, bytes) else content.tobytes() for content in image_contents]


def extracted_ids(source: str) -> list[str]:
    """Return the ids that an extraction from a source has."""
    return read_source(recognise(source, None), Path()).manifest.ids.tolist()


@pytest.mark.parametrize("files", [IMAGES, FLAT], ids=["class folders", "flat"])
@pytest.mark.parametrize("place", ["photos", "photos/", "photos.zip", "photos.tar"])
def test_images_of_a_tree_are_listed(files: dict[str, bytes], place: str) -> None:
    all_files = files | {"notes.txt": b"x", "@eaDir/0.png": PNGS[0], "cat/._0.png": b"x"}
    prefix = "" if place.startswith("photos/") or place == "photos" else f"{place}!"
    write: Callable[[Path, dict[str, bytes]], Path] = {"zip": write_zip, "tar": write_tar}.get(place[7:], on_disk)  # type: ignore[assignment]
    write(Path(place), all_files)
    images = list_images([place])
    assert images.ids == [prefix + name for name in sorted(files)]
    assert contents(images) == [files[name] for name in sorted(files)]
    assert (images.unreadable, images.n_ignored) == ({}, 3)
    if files is IMAGES:
        assert images.ids == extracted_ids(place)


def test_a_folder_inside_an_archive_and_one_member_are_listed() -> None:
    write_zip(Path("all.zip"), IMAGES)
    folder_images = list_images(["all.zip!cat"])
    assert folder_images.ids == [f"all.zip!cat/{name[4:]}" for name in sorted(NAMES) if name.startswith("cat/")]
    assert contents(list_images(["all.zip!dog/1.png"])) == [PNGS[1]]
    assert list_images(["all.zip!dog/1.png"]).ids == ["all.zip!dog/1.png"]
    missing_image = list_images(["all.zip!dog/10.png"])
    assert missing_image.unreadable == {"all.zip!dog/10.png": "there is no such file in the archive"}


def test_rows_of_arrays_are_listed() -> None:
    with h5py.File("tiles.h5", "w") as file:
        file["images"], file["labels"] = PIXELS, CODES
    images = list_images(["tiles.h5"])
    assert images.ids == extracted_ids("tiles.h5") == [f"tiles.h5#{row}" for row in range(10)]
    assert contents(images) == [values.tobytes() for values in PIXELS]
    for place in ("tiles.h5#3", "tiles.h5#images/3"):
        assert list_images([place]).ids == ["tiles.h5#3"]
        assert contents(list_images([place])) == [PIXELS[3].tobytes()]
    np.save("x.npy", PIXELS)
    assert list_images(["x.npy#9"]).ids == ["x.npy#9"]
    assert contents(list_images(["x.npy#9"])) == [PIXELS[9].tobytes()]


def test_datasets_of_one_file_have_their_names_in_ids() -> None:
    np.savez("all.npz", x_train=PIXELS[:7], x_test=PIXELS[7:], y_train=CODES[:7], y_test=CODES[7:])
    assert list_images(["all.npz"]).ids == extracted_ids("all.npz")
    test = list_images(["all.npz#x_test"])
    assert test.ids == [f"all.npz#x_test/{row}" for row in range(3)]
    assert contents(test) == [values.tobytes() for values in PIXELS[7:]]
    assert list_images(["all.npz#x_test/2"]).ids == ["all.npz#x_test/2"]


@pytest.mark.parametrize("row_address", ["10", "-1", "labels", "labels/0", "images/10", "x"])
def test_a_row_that_does_not_exist_is_an_error(row_address: str) -> None:
    with h5py.File("tiles.h5", "w") as file:
        file["images"], file["labels"] = PIXELS, CODES
    with pytest.raises(
        DataError, match=rf"tiles\.h5 has no image '{row_address}'; datasets of images: images with 10 rows$"
    ):
        list_images([f"tiles.h5#{row_address}"])


def test_an_array_file_without_images_is_an_error() -> None:
    np.save("y.npy", np.arange(5))
    with pytest.raises(
        DataError, match=r"y\.npy has no dataset of images; datasets: y\.npy \(5,\); expected \(n, h, w\)"
    ):
        list_images(["y.npy"])


def test_arrays_and_archives_in_a_folder_are_listed() -> None:
    Path("data").mkdir()
    np.save("data/x.npy", PIXELS)
    np.save("data/y.npy", CODES)
    images = list_images(["data"])
    assert images.ids == extracted_ids("data")
    assert images.n_ignored == 1
    Path("shards").mkdir()
    write_tar(Path("shards/0.tar"), {"0.png": PNGS[0]})
    write_tar(Path("shards/1.tar"), {"0.png": PNGS[1]})
    assert list_images(["shards"]).ids == ["0/0.png", "1/0.png"]


def test_images_of_a_label_table_are_listed() -> None:
    on_disk(Path("photos"), IMAGES)
    names = [*NAMES[:4], "cat/gone.png"]
    pd.DataFrame({"file": names, "kind": [0, 1, 0, None, 1]}).to_csv("photos/labels.csv", index=False)
    images = list_images(["photos/labels.csv"])
    assert images.ids == NAMES[:4]
    assert contents(images) == PNGS[:4]
    assert images.unreadable == {"cat/gone.png": "there is no such file"}


def test_a_folder_of_an_installed_package_is_listed() -> None:
    images = list_images(["package:sklearn/datasets/images"])
    assert {"china.jpg", "flower.jpg"} <= set(images.ids)


def test_patterns_are_expanded() -> None:
    on_disk(Path("photos"), IMAGES)
    assert list_images(["photos/cat/*.png"]).ids == sorted(f"photos/{name}" for name in NAMES if name[0] == "c")
    assert list_images(["photos/**/[0-3].png"]).ids == sorted(f"photos/{name}" for name in NAMES[:4])
    with pytest.raises(DataError, match=r"^'photos/\*\.jpg' matches no file; expected a pattern"):
        list_images(["photos/*.jpg"])
    Path("odd[1].png").write_bytes(PNGS[0])
    assert list_images(["odd[1].png"]).ids == ["odd[1].png"]


def test_several_places_have_different_ids() -> None:
    for folder in ("a", "b"):
        on_disk(Path(folder), {"0.png": PNGS[0]})
        write_zip(Path(folder, "all.zip"), {"0.png": PNGS[1]})
        np.save(Path(folder, "x.npy"), PIXELS[:1])
    places = ["a", "b/", "a/0.png", "a/all.zip", "b/all.zip", "a/x.npy", "b/x.npy#0"]
    images = list_images(places)
    assert images.ids == [
        *("a/0.png", "b/0.png", "a/0.png", "a/all.zip!0.png", "b/all.zip!0.png", "a/x.npy#0", "b/x.npy#0"),
    ]
    assert contents(images) == [PNGS[0]] * 3 + [PNGS[1]] * 2 + [PIXELS[0].tobytes()] * 2


def test_a_file_is_listed_as_it_is_named() -> None:
    on_disk(Path("photos"), IMAGES)
    names = ["photos/cat/0.png", "./photos/dog/1.png", "gone.png", "photos/cat/0.png"]
    assert list_images(names).ids == names


def test_broken_links_are_unreadable() -> None:
    on_disk(Path("photos"), {"0.png": PNGS[0]})
    Path("photos/1.png").symlink_to("nowhere.png")
    images = list_images(["photos"])
    assert (images.ids, images.unreadable) == (["0.png"], {"1.png": "is a broken link"})


def test_a_place_without_images_is_an_error() -> None:
    on_disk(Path("photos"), {"notes.txt": b"x", "Thumbs.db": b"x"})
    with pytest.raises(DataError, match=r"^no images in 'photos' \(found 2 other files\); expected image files"):
        list_images(["photos"])
    with pytest.raises(DataError, match=r"^no images in an empty list; expected"):
        list_images([])


def test_a_place_without_images_is_reported_beside_others() -> None:
    on_disk(Path("photos"), IMAGES | {"notes.txt": b"x"})
    on_disk(Path("papers"), {"notes.txt": b"x"})
    Path("empty").mkdir()
    images = list_images(["photos", "papers", "empty"])
    assert images.ids == [f"photos/{name}" for name in sorted(NAMES)]
    assert images.unreadable == {"papers": "holds no images (found 1 other files)", "empty": "holds no images"}


def test_images_in_files_of_a_folder_are_listed_as_they_are_extracted(home: Path) -> None:
    for row, name in enumerate(NAMES):
        file = home / "npy" / Path(name).with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, PIXELS[row])
    (home / "parquet").mkdir()
    images = [{"bytes": png, "path": name} for name, png in zip(NAMES, PNGS, strict=True)]
    pd.DataFrame({"image": images, "label": CODES}).to_parquet(home / "parquet" / "train.parquet")
    for place in ("npy", "parquet"):
        listed_images = list_images([place])
        assert listed_images.ids == extracted_ids(place)
        assert len(contents(listed_images)) == 10
        uses = init(place, recipe="featx.toml", force=True).inventory.uses
        assert uses == {"file of images": 10 if place == "npy" else 1}
