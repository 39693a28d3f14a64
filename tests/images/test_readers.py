"""Contract of all readers, tested with the same ten pictures in every supported layout."""

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import featx
from featx.embeddings.files import embed_files
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, UnknownNameError
from featx.images.contents import digest
from featx.images.digests import identify
from featx.images.init import recognise
from featx.images.names import is_image_name
from featx.images.readers import Listing, read_source
from featx.networks.features import resolve
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.specs.embedding import EmbeddingRequest, ResolvedEmbedding
from featx.study.study import Study

# Classes of the ten pictures.
CLASSES = ["cat", "dog"] * 5
CODES = [CLASSES.index(name) for name in CLASSES]
PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (10, 18, 20, 3), dtype=np.uint8)
NAMES = [f"{name}/{row}.png" for row, name in enumerate(CLASSES)]
PARTS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}

Files = Mapping[str, bytes]


def png(values: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


PNGS = [png(values) for values in PIXELS]
EMPTY = [b""] * 10


# Folders and archives


def on_disk(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def in_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def in_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


# Files of the pictures and their labels


def folders(images: list[bytes]) -> Files:
    return dict(zip(NAMES, images, strict=True))


def part_folders(images: list[bytes]) -> Files:
    return {f"{part}/{NAMES[row]}": images[row] for part, rows in PARTS.items() for row in rows}


def flat(images: list[bytes], prefix: str = "") -> Files:
    return {f"{prefix}{row}.png": image for row, image in enumerate(images)}


def table(prefix: str = "") -> bytes:
    lines = [f"{prefix}{row}.png,{name}" for row, name in enumerate(CLASSES)]
    return "\n".join(["file,class", *lines]).encode()


def npy(value: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value))
    return stream.getvalue()


def annotated(images: list[bytes]) -> Files:
    """Return the layout of AffectNet: a folder of annotations with one file for each image and target."""
    notes = {f"annotations/{row}_class.npy": npy(str(code)) for row, code in enumerate(CODES)}
    words = {f"annotations/{row}_word.txt": f"{name}\n".encode() for row, name in enumerate(CLASSES)}
    return {**flat(images, "images/"), **notes, **words}


def web(images: list[bytes], rows: range = range(10)) -> Files:
    """Return the layout of WebDataset: files of one image have the same name up to the first point."""
    return {
        name: content
        for row in rows
        for name, content in (
            (f"{row:04}.png", images[row]),
            (f"{row:04}.cls", str(CODES[row]).encode()),
            (f"{row:04}.json", json.dumps({"word": CLASSES[row], "boxes": [1, 2]}).encode()),
        )
    }


def shards(folder: Path, images: list[bytes]) -> Path:
    in_tar(folder / "train-000.tar", web(images, range(7)))
    in_tar(folder / "test-000.tar", web(images, range(7, 10)))
    return folder


def table_beside_zip(folder: Path, images: list[bytes]) -> Path:
    in_zip(folder / "pictures.zip", {f"all/{name}": image for name, image in flat(images).items()})
    return on_disk(folder, {"table.csv": table()})


# Arrays


def hdf5(folder: Path) -> Path:
    with h5py.File(folder / "tiles.h5", "w") as file:
        file["x"], file["y"] = PIXELS, CODES
    return folder / "tiles.h5"


def hdf5_in_parts(folder: Path) -> Path:
    with h5py.File(folder / "tiles.h5", "w") as file:
        file["x_train"], file["y_train"] = PIXELS[:7], CODES[:7]
        file["x_val"], file["y_val"] = PIXELS[7:], CODES[7:]
    return folder / "tiles.h5"


def npz(folder: Path) -> Path:
    np.savez(folder / "tiles.npz", images=PIXELS, labels=CODES)
    return folder / "tiles.npz"


def two_npy(folder: Path) -> Path:
    np.save(folder / "X.npy", PIXELS)
    np.save(folder / "y.npy", np.array(CLASSES))
    return folder


def channels_first(folder: Path) -> Path:
    np.savez(folder / "tiles.npz", x=PIXELS.transpose(0, 3, 1, 2), y=np.eye(2, dtype=np.uint8)[CODES])
    return folder / "tiles.npz"


def idx(folder: Path) -> Path:
    """Write IDX files, the format of MNIST, with colours."""
    for part, rows in (("train", slice(7)), ("t10k", slice(7, 10))):
        for name, values in (("images-idx4", PIXELS[rows]), ("labels-idx1", np.uint8(CODES[rows]))):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


@dataclass(frozen=True)
class Form:
    """One layout of the pictures.

    Attributes
    ----------
    reader
        Name of the reader that recognises it.
    make
        Function that writes images into a folder and returns the source.
    columns
        Names of the label columns; the first one holds the class.
    labels
        Path of the label table relative to the folder, if the user has to name it.
    """

    reader: str
    make: Callable[[Path, list[bytes]], Path]
    columns: tuple[str, ...]
    labels: str | None = None

    def recognised(self, folder: Path, images: list[bytes] = PNGS) -> ReaderSpec:
        """Write the pictures and return how to read them."""
        folder.mkdir(parents=True, exist_ok=True)
        source = self.make(folder, images)
        return recognise(str(source), None if self.labels is None else str(folder / self.labels))


def of_arrays(make: Callable[[Path], Path], *columns: str) -> Form:
    return Form("arrays", lambda folder, _: make(folder), columns)


FILE_FORMS = {
    "class folders": Form("folder", lambda folder, images: on_disk(folder, folders(images)), ("class",)),
    "class folders inside another": Form(
        "folder",
        lambda folder, images: on_disk(folder, {f"a b/{name}": image for name, image in folders(images).items()}),
        ("class",),
    ),
    "part folders": Form("folder", lambda folder, images: on_disk(folder, part_folders(images)), ("class", "split")),
    "class folders in a zip": Form(
        "folder", lambda folder, images: in_zip(folder / "a.zip", folders(images)), ("class",)
    ),
    "class folders in a tar": Form(
        "folder", lambda folder, images: in_tar(folder / "a.tar", folders(images)), ("class",)
    ),
    "class folders in a tar.gz": Form(
        "folder", lambda folder, images: in_tar(folder / "a.tar.gz", folders(images)), ("class",)
    ),
    "part folders in a folder in a zip": Form(
        "folder",
        lambda folder, images: in_zip(
            folder / "a.zip", {f"deep/{name}": image for name, image in part_folders(images).items()}
        ),
        ("class", "split"),
    ),
    "a table and a folder": Form(
        "table",
        lambda folder, images: on_disk(folder, {**flat(images, "images/"), "t.csv": table("images/")}),
        ("class",),
    ),
    "a table beside a zip": Form("table", table_beside_zip, ("class",)),
    "a table inside a zip": Form(
        "table",
        lambda folder, images: in_zip(folder / "a.zip", {**flat(images, "images/"), "t.csv": table("images/")}),
        ("class",),
    ),
    "a zip with a table named": Form(
        "table",
        lambda folder, images: in_zip(on_disk(folder, {"other/t.csv": table()}) / "a.zip", flat(images)),
        ("class",),
        labels="other/t.csv",
    ),
    "annotations": Form("annotations", lambda folder, images: on_disk(folder, annotated(images)), ("class", "word")),
    "annotations in a zip": Form(
        "annotations", lambda folder, images: in_zip(folder / "a.zip", annotated(images)), ("class", "word")
    ),
    "a WebDataset tar": Form(
        "annotations", lambda folder, images: in_tar(folder / "a.tar", web(images)), ("cls", "word")
    ),
    "WebDataset shards": Form("annotations", shards, ("cls", "word", "split")),
}
ARRAY_FORMS = {
    "HDF5": of_arrays(hdf5, "label"),
    "HDF5 with parts": of_arrays(hdf5_in_parts, "label", "split"),
    "npz": of_arrays(npz, "label"),
    "npz with channels first and one-hot labels": of_arrays(channels_first, "label"),
    "two npy files": of_arrays(two_npy, "label"),
    "IDX": of_arrays(idx, "label", "split"),
}
FORMS = FILE_FORMS | ARRAY_FORMS
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_file_form = pytest.mark.parametrize("form", FILE_FORMS.values(), ids=FILE_FORMS)
every_reader = pytest.mark.parametrize("name", READERS.names())


def pictures_of(listing: Listing) -> list[int]:
    """Return the number of the picture that each row of a listing leads to."""
    arrays = PIXELS.transpose(0, 3, 1, 2)
    row_by_digest = {
        digest(content): row for contents in (PNGS, PIXELS, arrays) for row, content in enumerate(contents)
    }
    return [row_by_digest[identify(uri).digest] for uri in listing.manifest.uris]


def test_every_reader_is_covered_by_a_form() -> None:
    assert {form.reader for form in FORMS.values()} == set(READERS.names())


@every_form
def test_the_expected_reader_recognises_a_layout_and_is_deterministic(form: Form, tmp_path: Path) -> None:
    data = form.recognised(tmp_path)
    assert data.reader_name == form.reader
    first, second = (read_source(data, Path("/elsewhere")) for _ in range(2))
    assert first.manifest.ids.tolist() == second.manifest.ids.tolist()
    assert first.manifest.uris.tolist() == second.manifest.uris.tolist()
    assert first.manifest.labels.equals(second.manifest.labels)
    assert first.states.tolist() == second.states.tolist()
    assert (
        (first.known, first.ignored, first.warnings)
        == (second.known, second.ignored, second.warnings)
        == ({}, second.ignored, ())
    )


@every_form
def test_each_row_has_a_unique_id_one_picture_and_its_labels(form: Form, tmp_path: Path) -> None:
    listing = read_source(form.recognised(tmp_path), Path())
    manifest = listing.manifest
    assert len(set(manifest.ids)) == len(manifest) == 10
    assert all(isinstance(text, str) for text in [*manifest.ids, *manifest.uris])
    assert set(manifest.digests) == {""}
    assert manifest.labels.index.tolist() == manifest.ids.tolist()
    assert list(manifest.labels.columns) == list(form.columns)
    pictures = pictures_of(listing)
    assert sorted(pictures) == list(range(10))
    labels = manifest.labels[form.columns[0]].tolist()
    assert labels in ([CLASSES[row] for row in pictures], [CODES[row] for row in pictures])
    if "split" in form.columns:
        assert set(manifest.labels["split"]) > {"train"}


@every_form
def test_ids_do_not_depend_on_where_the_source_lies(form: Form, tmp_path: Path) -> None:
    ids, other_ids = (
        read_source(form.recognised(tmp_path / name), Path()).manifest.ids.tolist() for name in ("a", "b/c")
    )
    assert ids == other_ids
    assert not [name for name in ids if str(tmp_path) in name]


@every_form
def test_every_image_has_a_state(form: Form, tmp_path: Path) -> None:
    listing = read_source(form.recognised(tmp_path), Path())
    assert None not in listing.states.tolist()


@every_file_form
def test_listing_opens_no_image(form: Form, tmp_path: Path) -> None:
    whole = read_source(form.recognised(tmp_path / "whole"), Path())
    data = form.recognised(tmp_path / "empty", EMPTY)
    emptied = read_source(data, Path())
    assert emptied.manifest.ids.tolist() == whole.manifest.ids.tolist()
    assert emptied.manifest.labels.equals(whole.manifest.labels)
    assert [identify(uri).reason for uri in emptied.manifest.uris] == ["is empty"] * 10


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Vectors of the ten pictures, computed without readers and cache."""
    folder = on_disk(tmp_path_factory.mktemp("expected"), flat(PNGS))
    request = EmbeddingRequest(backbone="toy", weights="none")
    resolution = resolve([request])
    embedding = ResolvedEmbedding(request=request, spec=resolution.specs[0], n_features=resolution.n_features[0])
    vectors = embed_files([str(folder / f"{number}.png") for number in range(10)], [embedding], "cpu")
    assert len(set(map(bytes, vectors.columns[embedding.spec.fingerprint()]))) == 10
    return [row.tobytes() for row in vectors.columns[embedding.spec.fingerprint()]]


@every_form
def test_a_picture_has_the_same_vector_in_every_layout(form: Form, home: Path, expected: list[bytes]) -> None:
    (home / "data").mkdir()
    source = form.make(home / "data", PNGS)
    labels = None if form.labels is None else home / "data" / form.labels
    featx.init(source.relative_to(home), labels=labels, target=form.columns[0])
    recipe = home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))

    extraction = featx.extract()

    assert (extraction.n_embedded, extraction.failures) == (10, [])
    study = Study.open(None)
    rows = read_embeddings(study, study.manifest.ids, locked_embeddings(study))
    pictures = pictures_of(read_source(study.recipe.data, study.recipe.folder))
    assert [row.tobytes() for row in rows.x] == [expected[picture] for picture in pictures]


@every_form
def test_a_missing_or_empty_source_is_an_error(form: Form, tmp_path: Path) -> None:
    data = form.recognised(tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(DataError, match=r"does not exist|there is no such file"):
        read_source(data, Path())
    (tmp_path / "source").mkdir()
    with pytest.raises(DataError, match=r"no images in|does not exist|there is no such file"):
        read_source(data, Path())


@every_reader
def test_an_empty_folder_is_not_recognised(name: str, tmp_path: Path) -> None:
    assert READERS.get(name)().recognise(str(tmp_path), None) is None


@every_reader
def test_a_missing_place_is_not_recognised(name: str, tmp_path: Path) -> None:
    assert READERS.get(name)().recognise(str(tmp_path / "gone"), None) is None
    assert READERS.get(name)().recognise(str(tmp_path / "gone.zip"), None) is None


def test_an_unknown_reader_is_an_error(tmp_path: Path) -> None:
    data = ReaderSpec.model_construct(source=str(tmp_path), labels=None, reader="foldr")
    with pytest.raises(UnknownNameError, match="no reader is called 'foldr'; did you mean 'folder'"):
        read_source(data, Path())


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.b.jpeg", "a/b c.TIFF", "ä.webp"])
def test_images_are_recognised_by_their_suffix(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "png", ".png", "a/.b.png", "a.png.part", "a", "1.0"])
def test_other_files_and_hidden_ones_are_not_images(name: str) -> None:
    assert not is_image_name(name)
