"""Damaged or untidy sources: they are read, or reported in one line with the next step."""

import io
import sys
import tarfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import featx
from featx.cli.main import main
from featx.errors import DataError
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.specs.data import ReaderSpec
from featx.specs.recipe import load_recipe

NOISE = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
NAMES = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE[number]).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pictures() -> dict[str, bytes]:
    return {name: png(number) for number, name in enumerate(NAMES)}


def drawn(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number % 6))


def listed(source: Path, labels: Path | None = None, **data: object) -> Listing:
    """Return the listing of a source, read as it is recognised."""
    spec = recognise(str(source), None if labels is None else str(labels))
    return read_source(spec.model_copy(update=data), Path())


def refused(source: Path) -> str:
    """Return the error message of a source, which is one line."""
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as caught:
        listed(source)
    return str(caught.value)


# Archives


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_a_truncated_archive_is_reported(ending: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"all.{ending}"
    zipped(path, pictures()) if ending == "zip" else tarred(path, list(pictures().items()))
    # A tar ends with kilobytes of zeros.
    whole = path.read_bytes().rstrip(b"\0") if ending == "tar" else path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert f"{path} cannot be read as an archive, it may be truncated: " in refused(path)


def test_a_tar_truncated_or_damaged_between_members_is_reported(tmp_path: Path) -> None:
    path = tarred(tmp_path / "all.tar", list(pictures().items()))
    with tarfile.open(path) as archive:
        starts = [info.offset for info in archive.getmembers()]
    whole = path.read_bytes()
    path.write_bytes(whole[: starts[3]])
    assert f"it may be truncated: it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(whole[: starts[3]] + b"x" * 512 + whole[starts[3] + 512 :])
    assert f"it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(whole[: starts[3] + 100])
    assert f"it has no end marker at byte {starts[3]}" in refused(path)
    path.write_bytes(whole)
    assert len(listed(path)) == 6


def test_a_file_that_is_not_an_archive_is_reported(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tgz"):
        (tmp_path / name).write_bytes(b"neither zip nor tar" * 100)
        assert "cannot be read as an archive" in refused(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        assert "cannot be read as an archive" in refused(tmp_path / name)


def test_an_encrypted_member_is_unreadable_and_other_members_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", pictures())
    with zipfile.ZipFile(path) as archive:
        local = archive.getinfo(NAMES[4]).header_offset
    content = bytearray(path.read_bytes())
    central = content.rindex(NAMES[4].encode()) - 46
    # Set the flag in the member's own header and in the directory at the end.
    content[local + 6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    listing = listed(path)
    assert listing.known == {"all.zip!dog/1.png": ("unreadable", "is encrypted")}
    assert [identify_image(uri).outcome for uri in listing.manifest.uris] == ["", "", "", "", "unreadable", ""]


def test_a_damaged_member_is_unreadable_and_other_members_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", pictures())
    content = path.read_bytes()
    start = content.index(png(2)) + 30
    path.write_bytes(content[:start] + b"damage" + content[start + 6 :])
    identities = [identify_image(uri) for uri in listed(path).manifest.uris]
    assert [identity.outcome for identity in identities] == ["", "", "unreadable", "", "", ""]
    assert identities[2].reason.startswith("is damaged in its archive: Bad CRC-32")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_the_last_of_two_members_with_the_same_name_is_used(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"all.{ending}"
    members = [("cat/0.png", png(0)), ("dog/0.png", png(1)), ("cat/0.png", png(2))]
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)
    else:
        tarred(path, members)
    manifest = listed(path).manifest
    assert manifest.ids.tolist() == [f"all.{ending}!cat/0.png", f"all.{ending}!dog/0.png"]
    assert [read_content(uri) for uri in manifest.uris] == [png(2), png(1)]


def test_macos_metadata_in_a_zip_is_ignored(tmp_path: Path) -> None:
    extra = {f"__MACOSX/{name.replace('/', '/._')}": b"\0\5\x16\7" for name in NAMES}
    path = zipped(tmp_path / "all.zip", {**pictures(), **extra, "cat/.DS_Store": b"x"})
    listing = listed(path)
    assert listing.manifest.ids.tolist() == [f"all.zip!{name}" for name in NAMES]
    assert sorted(listing.ignored) == sorted([f"all.zip!{name}" for name in extra] + ["all.zip!cat/.DS_Store"])
    assert set(listing.ignored.values()) == {
        "is in a folder of metadata of macOS",
        "is hidden: its name begins with '.'",
    }
    assert listing.warnings == ()


def test_an_archive_may_lie_in_a_folder_with_an_exclamation_mark(tmp_path: Path) -> None:
    (tmp_path / "hey!").mkdir()
    path = zipped(tmp_path / "hey!" / "a!.zip", {f"deep/{name}": content for name, content in pictures().items()})
    assert recognise(str(path), None) == ReaderSpec(source=f"{path}!deep")
    manifest = listed(path).manifest
    assert manifest.ids.tolist() == [f"a!.zip!deep/{name}" for name in NAMES]
    assert [read_content(uri) for uri in manifest.uris] == list(pictures().values())
    path.rename(tmp_path / "hey!" / "a.zip")
    (tmp_path / "hey!" / "t.csv").write_text("\n".join(["path,y", *(f"{name},1" for name in NAMES)]))
    assert listed(tmp_path / "hey!").known == {}


def test_members_with_absolute_names_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"/{name}": content for name, content in pictures().items()})
    manifest = listed(path).manifest
    assert manifest.column("class").tolist() == ["cat"] * 3 + ["dog"] * 3
    assert [read_content(uri) for uri in manifest.uris] == list(pictures().values())


# Arrays


def recipe_of(folder: Path, data: str) -> Path:
    (folder / "featx.toml").write_text(f'[data]\nsource = "."\n{data}\n[targets.y]\ncolumn = "y"\n')
    return folder / "featx.toml"


def refused_recipe(recipe: Path) -> str:
    loaded = load_recipe(recipe)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as caught:
        read_source(loaded.data, loaded.folder)
    return str(caught.value)


def test_different_numbers_of_images_and_labels_are_reported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = NOISE, [0, 1, 0, 1, 0]
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.h5#x"\nlabels = { y = "a.h5#y" }')
    assert refused_recipe(recipe) == (
        "data.arrays: 'a.h5#x' has 6 rows and 'a.h5#y' has shape (5,); expected as many labels as images"
    )


def test_a_missing_dataset_is_reported_with_the_datasets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["deep/y"], file["note"] = NOISE, [0] * 6, "no array"
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.h5#X"\nlabels = { y = "a.h5#deep/y" }')
    assert refused_recipe(recipe) == f"data.arrays: {tmp_path / 'a.h5'} has no dataset 'X'; datasets: 'deep/y', 'x'"
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "b.h5#x"')
    assert f"data.arrays: '{tmp_path / 'b.h5'}' does not exist" in refused_recipe(recipe)


def test_arrays_without_rows_hold_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=NOISE[:0], y=np.zeros((0, 2)))
    assert "no images in" in refused(tmp_path / "a.npz")


def test_a_dataset_without_images_is_reported_with_its_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=NOISE.reshape(6, -1), y=[0, 1] * 3)
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.npz#x"\nlabels = { y = "a.npz#y" }')
    assert refused_recipe(recipe) == (
        "data.arrays: 'a.npz#x' has shape (6, 432), expected (n, h, w) or (n, h, w, channels)"
    )


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.h5"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_array_file_is_reported(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, x=NOISE, y=[0, 1] * 3)
    elif name == "a.npy":
        np.save(path, NOISE)
    else:
        with h5py.File(path, "w") as file:
            file["x"], file["y"] = NOISE, [0, 1] * 3
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert refused(path).startswith(f"{path} cannot be read as arrays, it may be truncated: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\x08\x03" + np.array([100, 9, 9], ">u4").tobytes() + bytes(81), "shape (100, 9, 9) needs 8100 bytes, f"),
        (b"\0\0\x08\x03" + np.array([2**31, 2**31, 9], ">u4").tobytes(), "bytes, found 0"),
        (b"\0\0\x08\x03\0\0", ""),
        (b"\0\0\x07\x01\0\0\0\0", "it does not have the header of an IDX file"),
        (b"PK\3\4", "it does not have the header of an IDX file"),
    ],
    ids=["too short", "absurdly large", "header cut off", "unknown type", "no IDX"],
)
def test_an_idx_file_that_contradicts_its_header_is_reported(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    message = refused(tmp_path)
    assert "train-images-idx3-ubyte cannot be read as arrays, it may be truncated: " in message
    assert reason in message


def test_a_row_with_nan_is_unreadable_and_other_rows_are_embedded(toy_home: Path) -> None:
    values = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    values[3, 0, 0] = np.nan
    np.savez("a.npz", x=values, y=[0, 1] * 6)
    Path("featx.toml").unlink()
    featx.init("a.npz")
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))
    extraction = featx.extract()
    assert (extraction.n_embedded, extraction.failures) == (11, [("a.npz#3", "unreadable", "holds nan or infinity")])


# Annotations


def test_a_broken_annotation_is_reported_by_name(tmp_path: Path) -> None:
    drawn(tmp_path, *(f"images/{number}.png" for number in range(4)))
    (tmp_path / "annotations").mkdir()
    for number in range(4):
        np.save(tmp_path / "annotations" / f"{number}_class.npy", np.int64(number % 2))
    broken = tmp_path / "annotations" / "2_class.npy"
    for content in (broken.read_bytes()[:50], b"", b"no numpy"):
        broken.write_bytes(content)
        message = refused(tmp_path)
        assert message.startswith("annotation 'annotations/2_class.npy' ")
        assert message.endswith("; correct or remove it")
    np.save(broken, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "annotation 'annotations/2_class.npy' cannot be read" in refused(tmp_path)  # never unpickled
    broken.unlink()
    (tmp_path / "annotations" / "2.json").write_text('{"class": ')
    assert "annotation 'annotations/2.json' cannot be read" in refused(tmp_path)


def test_an_image_without_an_annotation_has_no_label(tmp_path: Path) -> None:
    drawn(tmp_path, "0.png", "1.png", "2.png")
    (tmp_path / "0.cls").write_text("0")
    (tmp_path / "1.cls").write_text("1")
    assert listed(tmp_path).manifest.column("cls").isna().tolist() == [False, False, True]


# Tables


def test_repeated_paths_are_reported_with_count_and_example(tmp_path: Path) -> None:
    drawn(tmp_path, "a.png", "b.png")
    (tmp_path / "t.csv").write_text("path,y\na.png,1\nb.png,2\na.png,1\nb.png,1\n")
    assert refused(tmp_path) == "t.csv: 2 paths occur in several rows, first 'a.png'; expected one row per image"


def test_a_table_as_a_spreadsheet_writes_it_is_read(tmp_path: Path) -> None:
    drawn(tmp_path, "a b.png", "c.png", "d.png")
    content = "File Name ; Class\r\n a b.png ; cat \r\n c.png;dog  \r\nd.png;  cat\r\n"
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    listing = listed(tmp_path)
    assert listing.known == {}
    assert listing.manifest.ids.tolist() == ["a b.png", "c.png", "d.png"]
    assert listing.manifest.labels.to_dict("list") == {"Class": ["cat", "dog", "cat"]}


TABLE_RECIPE = """
[data]
source = "images"
labels = { file = "labels.csv" }
[targets.class]
column = "class"
[split]
test = 0.25
val = 0.25
[[embedding]]
backbone = "toy"
weights = "none"
"""


def test_missing_labels_are_an_error_or_dropped(toy_home: Path) -> None:
    rows = [f"{path.relative_to('images')},{path.parent.name}" for path in sorted(Path("images").rglob("*.png"))]
    gaps = {3: "", 17: "NaN", 30: "  "}
    rows = [f"{row.partition(',')[0]},{gaps[number]}" if number in gaps else row for number, row in enumerate(rows)]
    Path("images/labels.csv").write_text("\n".join(["path,class", *rows]))
    Path("featx.toml").write_text(TABLE_RECIPE)
    with pytest.raises(
        DataError, match=r"targets\.class: 3 of 48 images have no 'class', first 'dark/003\.png'; .*--dr"
    ):
        featx.extract()
    extraction = featx.extract(drop_unlabelled=True)
    assert (extraction.n_found, extraction.n_embedded, extraction.n_ignored) == (48, 45, 3)
    assert extraction.ignored == {"has no label in column 'class'": 3}


def test_paths_with_backslashes_are_found(tmp_path: Path) -> None:
    drawn(tmp_path, "images/deep/a.png", "images/deep/b.png")
    (tmp_path / "t.csv").write_text("path,y\nimages\\deep\\a.png,1\nimages\\deep\\b.png,2\n")
    listing = listed(tmp_path)
    assert (listing.known, len(listing)) == ({}, 2)
    assert [Path(uri).name for uri in listing.manifest.uris] == ["a.png", "b.png"]
    assert listing.manifest.ids.tolist() == ["images\\deep\\a.png", "images\\deep\\b.png"]
    assert set(listing.ignored) <= {"t.csv"}


@pytest.mark.parametrize(("written", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_unicode_form_is_found(written: str, on_disk: str, tmp_path: Path) -> None:
    names = ["é/ü.png", "é/ñ.png"]
    drawn(tmp_path, *(unicodedata.normalize(on_disk, name) for name in names))
    lines = [f"{unicodedata.normalize(written, name)},{number}" for number, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["path,y", *lines]))
    listing = listed(tmp_path)
    assert (listing.known, [identify_image(uri).outcome for uri in listing.manifest.uris]) == ({}, ["", ""])
    assert listing.manifest.ids.tolist() == [line.partition(",")[0] for line in lines]


# Classes


def said_by(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    sys.argv = ["featx", *words.split()]
    with pytest.raises(SystemExit, match=r"^\d+$|^None$") as stopped:
        main()
    output = capsys.readouterr()
    return int(stopped.value.code or 0), output.out, output.err


def test_a_class_folder_without_images_is_a_warning(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy_home / "images" / "grey").mkdir()
    (toy_home / "images" / "texts").mkdir()
    (toy_home / "images" / "texts" / "a.txt").touch()
    code, out, _ = said_by("extract", capsys)
    assert code == 0
    assert "folder 'grey' holds no image and is not used as a class" in out
    assert "folder 'texts' holds no image and is not used as a class" in out
    assert "50 files: 48 embedded, 0 cached, 0 duplicate, 0 unreadable, 0 missing, 2 ignored" in out


def test_a_class_with_only_unreadable_images_is_an_error(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        Path(f"images/grey{number}.png").write_bytes(b"no picture")
    Path("images/grey").mkdir()
    for number in range(5):
        Path(f"images/grey{number}.png").rename(f"images/grey/{number}.png")
    code, out, err = said_by("extract", capsys)
    assert code == 1
    assert "53 files: 48 embedded, 0 cached, 0 duplicate, 5 unreadable" in out
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: no image of class: grey can be read; the others are embedded: repair them, or")
    assert line.endswith("the first image without an embedding is 'grey/0.png': is not an image of a known format")
    assert "Traceback" not in err


def test_a_name_that_is_too_long_is_an_outcome_of_its_image(tmp_path: Path) -> None:
    drawn(tmp_path, "a.png", "b.png")
    long = "x" * 300 + ".png"
    (tmp_path / "t.csv").write_text(f"path,y\na.png,1\nb.png,2\n{long},1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listing = listed(tmp_path)
    assert list(listing.known) == [long]
    assert listing.known[long][0] == "unreadable"


def test_a_source_that_is_one_picture_is_not_recognised(tmp_path: Path) -> None:
    drawn(tmp_path, "a.png")
    assert "no reader recognises" in refused(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"'.*a\.png' is not a folder and not an archive"):
        read_source(ReaderSpec(source=str(tmp_path / "a.png")), Path())
