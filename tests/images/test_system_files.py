"""Files that systems and programs leave beside images are ignored with a reason, in folders, archives and stores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.images.folder import FolderReader
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.table import TableReader
from tests.layouts import NAMES, PNGS, on_disk, write_tar, write_zip

IMAGES = dict(zip(NAMES, PNGS, strict=True))
FILES = {
    "cat/._0.png": "is metadata of macOS (AppleDouble): its name begins with '._'",
    "cat/SYNOPHOTO_THUMB_M.jpg": "is a thumbnail of a Synology NAS",
    "cat/Thumbs.db": "is a cache of thumbnails of Windows",
    "dog/desktop.ini": "holds settings of Windows for its folder",
    "dog/.picasa.ini": "holds settings of Picasa for its folder",
    "dog/Icon\r": "is the icon of its folder in macOS",
    "dog/~1.png": "is a temporary file: its name begins with '~'",
    "dog/2.png.part": "is an incomplete or temporary file: see its suffix",
    "dog/2.png.crdownload": "is an incomplete or temporary file: see its suffix",
}
FOLDERS = {
    "@eaDir": "a folder of thumbnails of a Synology NAS",
    "cat/@eaDir": "a folder of thumbnails of a Synology NAS",
    "dog/.@__thumb": "a folder of thumbnails of a QNAP NAS",
    "#recycle": "a folder of deleted files of a Synology NAS",
    "$RECYCLE.BIN": "a folder of deleted files of Windows",
    "lost+found": "a folder of fragments of a file system check",
    "__MACOSX": "a folder of metadata of macOS",
    "cat/.ipynb_checkpoints": "a folder of copies of Jupyter",
    "dog/.cache": "a hidden folder, which is not searched",
}
SYSTEM_FILES = dict.fromkeys(FILES, PNGS[0]) | {f"{folder}/deep/0.png": PNGS[0] for folder in FOLDERS}


def listed(source: Path) -> Listing:
    """Return the files of a source as its reader lists them."""
    return read_source(recognise(str(source), None), Path())


def test_system_files_in_a_folder_are_ignored(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "photos", IMAGES | SYSTEM_FILES)
    listing = listed(source)
    assert listing.manifest.ids.tolist() == sorted(NAMES)
    assert listing.ignored == FILES | {folder: f"is {content}" for folder, content in FOLDERS.items()}
    assert set(listing.manifest.labels["class"]) == {"cat", "dog"}
    assert listing.warnings == ()


@pytest.mark.parametrize(("ending", "write"), [("zip", write_zip), ("tar", write_tar)])
def test_system_files_in_an_archive_are_ignored(ending: str, write: Callable[..., Path], tmp_path: Path) -> None:
    listing = listed(write(tmp_path / f"photos.{ending}", IMAGES | SYSTEM_FILES))
    prefix = f"photos.{ending}!"
    assert listing.manifest.ids.tolist() == [prefix + name for name in sorted(NAMES)]
    in_folders = {f"{folder}/deep/0.png": f"is in {content}" for folder, content in FOLDERS.items()}
    assert listing.ignored == {prefix + name: rule for name, rule in (FILES | in_folders).items()}
    assert listing.warnings == ()


def test_system_files_beside_part_folders_are_no_class(tmp_path: Path) -> None:
    files = {f"{part}/{name}": content for part in ("train", "test") for name, content in IMAGES.items()}
    system_files = {f"{part}/{name}": content for part in ("train", "test") for name, content in SYSTEM_FILES.items()}
    for source in (
        on_disk(tmp_path / "photos", files | system_files | SYSTEM_FILES),
        write_zip(tmp_path / "photos.zip", files | system_files | SYSTEM_FILES),
    ):
        listing = listed(source)
        assert len(listing) == 20
        assert set(listing.manifest.labels["class"]) == {"cat", "dog"}
        assert listing.warnings == ()


def test_a_class_folder_of_system_files_is_no_class(tmp_path: Path) -> None:
    system_files = {"bird/._0.png": PNGS[0], "bird/~0.png": PNGS[0], "bird/Thumbs.db": b"x"}
    listing = listed(on_disk(tmp_path / "photos", IMAGES | system_files))
    assert set(listing.manifest.labels["class"]) == {"cat", "dog"}
    assert listing.warnings == ("folder 'bird' holds no image and is not used as a class",)


def test_system_files_are_no_layout(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "photos", {"@eaDir/0.png": PNGS[0], "#recycle/a/0.png": PNGS[0]})
    assert FolderReader().recognise(str(source), None) is None


def test_system_files_beside_a_label_table_are_ignored(tmp_path: Path) -> None:
    table = "file,kind\n" + "".join(f"{name},{name[:3]}\n" for name in NAMES)
    files = IMAGES | SYSTEM_FILES | {"labels.csv": table.encode(), "._labels.csv": b"\0\5\x16\7"}
    source = on_disk(tmp_path / "photos", files)
    data = TableReader().recognise(str(source), None)
    assert data is not None
    listing = read_source(data, Path())
    assert listing.manifest.ids.tolist() == NAMES
    assert {name: listing.ignored[name] for name in FILES} == FILES


def test_a_label_table_may_name_an_image_among_system_files(tmp_path: Path) -> None:
    names = ["#recycle/0.png", "#recycle/1.png", "cat/0.png", "cat/2.png"]
    table = "file,kind\n" + "".join(f"{name},{row % 2}\n" for row, name in enumerate(names))
    files = {name: PNGS[row] for row, name in enumerate(names)} | {"labels.csv": table.encode()}
    for source in (on_disk(tmp_path / "photos", files), write_zip(tmp_path / "photos.zip", files)):
        listing = listed(source)
        assert listing.manifest.ids.tolist() == names
        assert listing.known == {}


def test_metadata_of_macos_beside_arrays_and_archives_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((10, 8, 8), dtype=np.uint8))
    np.save("y.npy", np.arange(10) % 2)
    Path("._x.npy").write_bytes(b"\0\5\x16\7")
    recognition = featx.init(".")
    assert recognition.n_found == 10
    assert recognition.ignored == {"is metadata of macOS (AppleDouble): its name begins with '._'": 1}
    home = on_disk(tmp_path / "archives", {"._photos.zip": b"\0\5\x16\7"})
    write_zip(home / "photos.zip", IMAGES)
    assert len(listed(home)) == 10
