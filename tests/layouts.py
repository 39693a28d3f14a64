"""Ten images in every supported layout of images and labels."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from featx.images.init import recognise
from featx.specs.data import ReaderSpec
from tests.image_files import encode

# Classes of the ten images.
CLASSES = ["cat", "dog"] * 5
CODES = [CLASSES.index(name) for name in CLASSES]
PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (10, 18, 20, 3), dtype=np.uint8)
NAMES = [f"{name}/{row}.png" for row, name in enumerate(CLASSES)]
PARTS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
Files = Mapping[str, bytes]


PNGS = [encode(Image.fromarray(values)) for values in PIXELS]
EMPTY = [b""] * 10


def on_disk(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def class_folders(images: list[bytes]) -> Files:
    return dict(zip(NAMES, images, strict=True))


def part_folders(images: list[bytes]) -> Files:
    return {f"{part}/{NAMES[row]}": images[row] for part, rows in PARTS.items() for row in rows}


def flat(images: list[bytes], prefix: str = "") -> Files:
    return {f"{prefix}{row}.png": image for row, image in enumerate(images)}


def table(prefix: str = "") -> bytes:
    lines = [f"{prefix}{row}.png,{name}" for row, name in enumerate(CLASSES)]
    return "\n".join(["file,class", *lines]).encode()


def encode_npy(value: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value))
    return stream.getvalue()


def annotation_files(images: list[bytes]) -> Files:
    """Return the layout of AffectNet: a folder of annotations with one file for each image and target."""
    notes = {f"annotations/{row}_class.npy": encode_npy(str(code)) for row, code in enumerate(CODES)}
    words = {f"annotations/{row}_word.txt": f"{name}\n".encode() for row, name in enumerate(CLASSES)}
    return {**flat(images, "images/"), **notes, **words}


def webdataset_files(images: list[bytes], rows: range = range(10)) -> Files:
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


def write_shards(folder: Path, images: list[bytes]) -> Path:
    write_tar(folder / "train-000.tar", webdataset_files(images, range(7)))
    write_tar(folder / "test-000.tar", webdataset_files(images, range(7, 10)))
    return folder


def write_table_and_zip(folder: Path, images: list[bytes]) -> Path:
    write_zip(folder / "pictures.zip", {f"all/{name}": image for name, image in flat(images).items()})
    return on_disk(folder, {"table.csv": table()})


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "tiles.h5", "w") as file:
        file["x"], file["y"] = PIXELS, CODES
    return folder / "tiles.h5"


def write_hdf5_with_parts(folder: Path) -> Path:
    with h5py.File(folder / "tiles.h5", "w") as file:
        file["x_train"], file["y_train"] = PIXELS[:7], CODES[:7]
        file["x_val"], file["y_val"] = PIXELS[7:], CODES[7:]
    return folder / "tiles.h5"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "tiles.npz", images=PIXELS, labels=CODES)
    return folder / "tiles.npz"


def write_two_npy(folder: Path) -> Path:
    np.save(folder / "X.npy", PIXELS)
    np.save(folder / "y.npy", np.array(CLASSES))
    return folder


def write_channels_first(folder: Path) -> Path:
    np.savez(folder / "tiles.npz", x=PIXELS.transpose(0, 3, 1, 2), y=np.eye(2, dtype=np.uint8)[CODES])
    return folder / "tiles.npz"


def write_idx(folder: Path) -> Path:
    """Write IDX files, the format of MNIST, with colours."""
    for part, rows in (("train", slice(7)), ("t10k", slice(7, 10))):
        for name, values in (("images-idx4", PIXELS[rows]), ("labels-idx1", np.uint8(CODES[rows]))):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def write_hdf5_items(folder: Path) -> Path:
    """Write an HDF5 file with one dataset for each image."""
    with h5py.File(folder / "tiles.h5", "w") as file:
        for name, values in zip(NAMES, PIXELS, strict=True):
            file[name] = values
    return folder / "tiles.h5"


def write_npy_folders(folder: Path) -> Path:
    return on_disk(folder, {f"{NAMES[row]}.npy": encode_npy(values) for row, values in enumerate(PIXELS)})


def write_mat(folder: Path) -> Path:
    """Write MATLAB files, as SVHN's."""
    for part, rows in (("train", slice(7)), ("test", slice(7, 10))):
        variables = {"X": PIXELS[rows].transpose(1, 2, 3, 0), "y": np.array(CODES[rows])[:, None]}
        scipy.io.savemat(folder / f"{part}.mat", variables, do_compression=True)
    return folder


def write_parquet(folder: Path) -> Path:
    """Write Parquet files with the images in them, as Hugging Face's."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for part, rows in (("train", range(7)), ("test", range(7, 10))):
        images = [{"bytes": PNGS[row], "path": f"{row}.png"} for row in rows]
        table = pa.table({"image": images, "label": [CODES[row] for row in rows]}).replace_schema_metadata(metadata)
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet", row_group_size=3)
    return folder


def coco_files(images: list[bytes]) -> Files:
    """Return the layout of COCO: a folder of images and a file of annotations for each part."""
    files: dict[str, bytes] = {}
    for part, rows in (("train2017", range(7)), ("val2017", range(7, 10))):
        files |= {f"{part}/{row:012}.png": images[row] for row in rows}
        content = {
            "images": [{"id": row + 100, "file_name": f"{row:012}.png"} for row in rows],
            "annotations": [{"id": row, "image_id": row + 100, "category_id": CODES[row] + 1} for row in rows],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "eel"}],
        }
        files[f"annotations/instances_{part}.json"] = json.dumps(content).encode()
    return files


def labelme_files(images: list[bytes]) -> Files:
    notes = [{"shapes": [{"label": name, "points": [[0, 1]]}] * 2, "imagePath": "a.png"} for name in CLASSES]
    return {**flat(images), **{f"{row}.json": json.dumps(note).encode() for row, note in enumerate(notes)}}


def id_list_files(images: list[bytes]) -> Files:
    """Return the layout of CUB-200: lists of paths, classes and parts with the same ids."""
    lists = {
        "images.txt": [f"{row + 1} {NAMES[row]}" for row in range(10)],
        "image_class_labels.txt": [f"{row + 1} {CODES[row] + 1}" for row in range(10)],
        "classes.txt": ["1 cat", "2 dog"],
        "train_test_split.txt": [f"{row + 1} {int(row < 7)}" for row in range(10)],
    }
    pictures = {f"images/{NAMES[row]}": images[row] for row in range(10)}
    return pictures | {name: "\n".join(lines).encode() for name, lines in lists.items()}


def voc_files(images: list[bytes]) -> Files:
    """Return the layout of Pascal VOC."""
    box = "<object><name>{0}</name><part><name>head</name></part></object>"
    notes = {
        f"Annotations/{row}.xml": f"<annotation>{box.format(name) * 2}</annotation>".encode()
        for row, name in enumerate(CLASSES)
    }
    lists = {f"ImageSets/Main/{part}.txt": "\n".join(map(str, rows)).encode() for part, rows in PARTS.items()}
    return {**flat(images, "JPEGImages/"), **notes, **lists}


def yolo_files(images: list[bytes]) -> Files:
    """Return the layout of Ultralytics: images and label files in folders of the parts."""
    files: dict[str, bytes] = {"data.yaml": b"train: images/train\nnames:\n  0: cat\n  1: dog\n"}
    for part, rows in PARTS.items():
        for row in rows:
            files[f"images/{part}/{row}.png"] = images[row]
            files[f"labels/{part}/{row}.txt"] = f"{CODES[row]} 0.5 0.5 0.1 0.2\n".encode() * 2
    return files


def one_hot_files(images: list[bytes]) -> Files:
    """Return the layout of Roboflow's multi-class exports."""
    files: dict[str, bytes] = {}
    for part, rows in PARTS.items():
        files |= {f"{part}/{row}.png": images[row] for row in rows}
        lines = [f"{row}.png, {1 - CODES[row]}, {CODES[row]}" for row in rows]
        files[f"{part}/_classes.csv"] = "\n".join(["filename, cat, dog", *lines]).encode()
    return files


@dataclass(frozen=True)
class Form:
    """One layout of the images.

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
    pattern
        Pattern of the images' names that the user names.
    """

    reader: str
    make: Callable[[Path, list[bytes]], Path]
    columns: tuple[str, ...]
    labels: str | None = None
    pattern: str | None = None

    def recognised(self, folder: Path, images: list[bytes] = PNGS) -> ReaderSpec:
        """Write the images and return the spec that reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        source = self.make(folder, images)
        return recognise(str(source), self.pattern if self.labels is None else str(folder / self.labels))


def array_form(make: Callable[[Path], Path], *columns: str, reader: str = "arrays") -> Form:
    return Form(reader, lambda folder, _: make(folder), columns)


FILE_FORMS = {
    "class folders": Form("folder", lambda folder, images: on_disk(folder, class_folders(images)), ("class",)),
    "class folders inside another": Form(
        "folder",
        lambda folder, images: on_disk(folder, {f"a b/{name}": image for name, image in class_folders(images).items()}),
        ("class",),
    ),
    "part folders": Form("folder", lambda folder, images: on_disk(folder, part_folders(images)), ("class", "split")),
    "class folders in a zip": Form(
        "folder", lambda folder, images: write_zip(folder / "a.zip", class_folders(images)), ("class",)
    ),
    "class folders in a tar": Form(
        "folder", lambda folder, images: write_tar(folder / "a.tar", class_folders(images)), ("class",)
    ),
    "class folders in a tar.gz": Form(
        "folder", lambda folder, images: write_tar(folder / "a.tar.gz", class_folders(images)), ("class",)
    ),
    "part folders in a folder in a zip": Form(
        "folder",
        lambda folder, images: write_zip(
            folder / "a.zip", {f"deep/{name}": image for name, image in part_folders(images).items()}
        ),
        ("class", "split"),
    ),
    "a table and a folder": Form(
        "table",
        lambda folder, images: on_disk(folder, {**flat(images, "images/"), "t.csv": table("images/")}),
        ("class",),
    ),
    "a table beside a zip": Form("table", write_table_and_zip, ("class",)),
    "a table inside a zip": Form(
        "table",
        lambda folder, images: write_zip(folder / "a.zip", {**flat(images, "images/"), "t.csv": table("images/")}),
        ("class",),
    ),
    "a zip with a table named": Form(
        "table",
        lambda folder, images: write_zip(on_disk(folder, {"other/t.csv": table()}) / "a.zip", flat(images)),
        ("class",),
        labels="other/t.csv",
    ),
    "names that match a pattern": Form(
        "names",
        lambda folder, images: on_disk(
            folder, {f"{name.replace('/', '_')}": images[i] for i, name in enumerate(NAMES)}
        ),
        ("class",),
        pattern="{class}_{image}",
    ),
    "annotations": Form(
        "annotations", lambda folder, images: on_disk(folder, annotation_files(images)), ("class", "word")
    ),
    "annotations in a zip": Form(
        "annotations", lambda folder, images: write_zip(folder / "a.zip", annotation_files(images)), ("class", "word")
    ),
    "a WebDataset tar": Form(
        "annotations", lambda folder, images: write_tar(folder / "a.tar", webdataset_files(images)), ("cls", "word")
    ),
    "COCO": Form("coco", lambda folder, images: on_disk(folder, coco_files(images)), ("class", "split")),
    "COCO in a zip": Form(
        "coco", lambda folder, images: write_zip(folder / "a.zip", coco_files(images)), ("class", "split")
    ),
    "LabelMe": Form("labelme", lambda folder, images: on_disk(folder, labelme_files(images)), ("class",)),
    "Pascal VOC": Form("voc", lambda folder, images: on_disk(folder, voc_files(images)), ("class", "split")),
    "YOLO": Form("yolo", lambda folder, images: on_disk(folder, yolo_files(images)), ("class", "split")),
    "CUB-200": Form("id_lists", lambda folder, images: on_disk(folder, id_list_files(images)), ("class", "split")),
    "Roboflow's classes": Form(
        "one_hot", lambda folder, images: on_disk(folder, one_hot_files(images)), ("class", "split")
    ),
    "WebDataset shards": Form("annotations", write_shards, ("cls", "word", "split")),
}

ARRAY_FORMS = {
    "HDF5": array_form(write_hdf5, "label"),
    "HDF5 with parts": array_form(write_hdf5_with_parts, "label", "split"),
    "npz": array_form(write_npz, "label"),
    "npz with channels first and one-hot labels": array_form(write_channels_first, "label"),
    "two npy files": array_form(write_two_npy, "label"),
    "IDX": array_form(write_idx, "label", "split"),
    "MATLAB": array_form(write_mat, "label", "split"),
    "HDF5 with one dataset per image": array_form(write_hdf5_items, "class", reader="datasets"),
    "Parquet": array_form(write_parquet, "label", "split", reader="parquet"),
    "npy files in class folders": array_form(write_npy_folders, "class", reader="npy_folders"),
}

FORMS = FILE_FORMS | ARRAY_FORMS
