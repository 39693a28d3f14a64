"""Miniatures of public data sets that come in containers: what is typed is ``featx init PLACE``, nothing else."""

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from numpy.typing import NDArray

import featx
from featx.errors import DataError
from featx.images.init import Recognition
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.specs.recipe import load_recipe
from tests.layouts import PNGS, encode_npy, flat, on_disk

RNG = np.random.default_rng(0)


def recognised(source: str, reader: str, target: str | None = None) -> tuple[Recognition, Listing]:
    """Return what ``featx init`` recognises, and the images that its recipe reads."""
    recognition = featx.init(source, target=target, force=True)
    assert recognition.reader == reader
    recipe = load_recipe()
    return recognition, read_source(recipe.data, recipe.folder)


def content(listing: Listing, name: str) -> Any:
    return read_content(listing.manifest.uris[listing.manifest.ids.tolist().index(name)])


def images(n: int, side: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    shape = (n, side, side, channels) if channels > 1 else (n, side, side)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_pcam(home: Path) -> None:
    prefix = "camelyonpatch_level_2_split"
    Path("d").mkdir()
    patches = {"train": images(12), "valid": images(6), "test": images(6)}
    for part, x in patches.items():
        with h5py.File(f"d/{prefix}_{part}_x.h5", "w") as file:
            file["x"] = x
        with h5py.File(f"d/{prefix}_{part}_y.h5", "w") as file:
            file["y"] = (np.arange(len(x)) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
    recognition, listing = recognised("d", "arrays")
    assert (recognition.n_found, recognition.target, recognition.classes) == (24, "label", {"0": 12, "1": 12})
    assert recognition.parts == {"train": 12, "val": 6, "test": 6}
    assert (content(listing, f"{prefix}_valid_x.h5#5") == patches["valid"][5]).all()


def test_medmnist(home: Path) -> None:
    arrays: dict[str, Any] = {}
    for part, n in (("train", 12), ("val", 6), ("test", 6)):
        arrays |= {f"{part}_images": images(n, 28), f"{part}_labels": (np.arange(n) % 3).reshape(n, 1)}
    np.savez("pathmnist.npz", **arrays)
    recognition, listing = recognised("pathmnist.npz", "arrays")
    assert (recognition.n_found, recognition.classes) == (24, {"0": 8, "1": 8, "2": 8})
    assert recognition.parts == {"train": 12, "val": 6, "test": 6}
    assert (content(listing, "pathmnist.npz#val_images/3") == arrays["val_images"][3]).all()


def test_svhn(home: Path) -> None:
    Path("svhn").mkdir()
    digits = images(10)
    for part, rows in (("train", slice(6)), ("test", slice(6, 10))):
        labels = np.array([1, 10] * 5, dtype=np.uint8)[rows, None]
        variables = {"X": digits[rows].transpose(1, 2, 3, 0), "y": labels}
        scipy.io.savemat(f"svhn/{part}_32x32.mat", variables, do_compression=True)
    recognition, listing = recognised("svhn", "arrays")
    assert (recognition.classes, recognition.parts) == ({"1": 5, "10": 5}, {"train": 6, "test": 4})
    assert (content(listing, "test_32x32.mat#1") == digits[7]).all()


def test_fer2013(home: Path) -> None:
    faces = images(12, 48, 1)
    usage = ["Training"] * 6 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    rows = [f"{row % 3},{' '.join(map(str, face.ravel()))},{usage[row]}" for row, face in enumerate(faces)]
    on_disk(home / "fer2013", {"fer2013.csv": "\n".join(["emotion,pixels,Usage", *rows]).encode()})
    recognition, listing = recognised("fer2013", "pixels")
    assert (recognition.target, recognition.classes) == ("emotion", {"0": 4, "1": 4, "2": 4})
    assert recognition.parts == {"train": 6, "val": 3, "test": 3}
    assert (content(listing, "fer2013.csv#7") == faces[7]).all()


def test_kaggle_mnist(home: Path) -> None:
    digits = images(8, 28, 1)
    header = ",".join(f"pixel{number}" for number in range(784))
    lines = [",".join(map(str, digit.ravel())) for digit in digits]
    train = "\n".join([f"label,{header}", *(f"{row % 2},{line}" for row, line in enumerate(lines))])
    test = "\n".join([header, *lines[:2]])
    submission = b"ImageId,Label\n1,0\n2,0\n"
    files = {"train.csv": train.encode(), "test.csv": test.encode(), "sample_submission.csv": submission}
    on_disk(home / "digit-recognizer", files)
    recognition, listing = recognised("digit-recognizer", "pixels")
    assert (recognition.n_found, recognition.classes) == (8, {"0": 4, "1": 4})
    assert (content(listing, "train.csv#7") == digits[7]).all()
    assert listing.ignored["test.csv"] == "is a table without labels"


def test_hugging_face_parquet(home: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["beagle", "pug"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    Path("dogs/data").mkdir(parents=True)
    parts = {"train-00000-of-00002": range(3), "train-00001-of-00002": range(3, 6), "test-00000-of-00001": range(6, 10)}
    for name, rows in parts.items():
        column = [{"bytes": PNGS[row], "path": f"{row}.png"} for row in rows]
        table = pa.table({"image": column, "label": [row % 2 for row in rows]}).replace_schema_metadata(metadata)
        pq.write_table(table, f"dogs/data/{name}.parquet")
    recognition, listing = recognised("dogs", "parquet")
    assert (recognition.classes, recognition.parts) == ({"beagle": 5, "pug": 5}, {"train": 6, "test": 4})
    assert content(listing, "data/train-00001-of-00002.parquet#1") == PNGS[4]


def coco_file(names: dict[str, list[int]]) -> bytes:
    pairs = [(number, category) for number, codes in enumerate(names.values()) for category in codes]
    value = {
        "info": {"year": 2017},
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"image_id": number, "category_id": category, "bbox": [0, 0, 1, 1]} for number, category in pairs
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    }
    return json.dumps(value).encode()


def test_coco(home: Path) -> None:
    names = [f"{row:012}.jpg" for row in range(10)]
    files = {f"{'train2017' if row < 6 else 'val2017'}/{name}": PNGS[row] for row, name in enumerate(names)}
    codes = [[1], [18], [1, 18], [1], [18], []]
    files["annotations/instances_train2017.json"] = coco_file(dict(zip(names[:6], codes, strict=True)))
    files["annotations/instances_val2017.json"] = coco_file(dict(zip(names[6:], codes[:4], strict=True)))
    on_disk(home / "coco", files)
    recognition, listing = recognised("coco", "coco", target="dog")
    assert recognition.parts == {"train": 6, "val": 4}
    labels = listing.manifest.labels
    assert labels.loc[f"train2017/{names[2]}"].to_dict() == {"dog": 1, "person": 1, "split": "train"}
    assert labels.loc[f"train2017/{names[5]}"].to_dict() == {"dog": 0, "person": 0, "split": "train"}


@pytest.mark.parametrize("export", ["coco", "yolo", "one_hot", "folder"])
def test_roboflow(export: str, home: Path) -> None:
    parts = {"train": range(6), "valid": range(6, 8), "test": range(8, 10)}
    files: dict[str, bytes] = {"README.roboflow.txt": b"x"}
    for part, rows in parts.items():
        names = {row: f"{row}_jpg.rf.abc.jpg" for row in rows}
        if export == "folder":
            files |= {f"{part}/{'cat' if row % 2 else 'dog'}/{name}": PNGS[row] for row, name in names.items()}
            continue
        home_folder = f"{part}/images" if export == "yolo" else part
        files |= {f"{home_folder}/{name}": PNGS[row] for row, name in names.items()}
        if export == "coco":
            codes = {name: [1 if row % 2 else 18] for row, name in names.items()}
            files[f"{part}/_annotations.coco.json"] = coco_file(codes)
        elif export == "yolo":
            files |= {
                f"{part}/labels/{name[:-4]}.txt": f"{row % 2} .5 .5 .1 .1".encode() for row, name in names.items()
            }
            files["data.yaml"] = b"train: ../train/images\nnc: 2\nnames: ['dog', 'cat']\n"
        else:
            lines = [f"{name}, {row % 2}, {1 - row % 2}" for row, name in names.items()]
            files[f"{part}/_classes.csv"] = "\n".join(["filename, cat, dog", *lines]).encode()
    on_disk(home / "export", files)
    recognition, listing = recognised("export", export)
    assert (recognition.target, set(recognition.classes.values())) == ("class", {5})
    assert recognition.parts == {"train": 6, "val": 2, "test": 2}
    assert len(listing) == 10


@pytest.mark.parametrize("one_hot", [False, True])
def test_eurosat(one_hot: bool, home: Path) -> None:
    tiles = {"train": images(12, 64), "val": images(6, 64)}
    with h5py.File("earth_data.h5", "w") as file:
        for part, x in tiles.items():
            codes = np.arange(len(x)) % 3
            file[f"x_{part}"], file[f"y_{part}"] = x, np.eye(3)[codes] if one_hot else codes
    recognition, listing = recognised("earth_data.h5", "arrays")
    assert (recognition.classes, recognition.parts) == ({"0": 6, "1": 6, "2": 6}, {"train": 12, "val": 6})
    assert (content(listing, "earth_data.h5#x_val/4") == tiles["val"][4]).all()


def test_cifar_10_pickles_are_refused_and_the_binary_version_is_read(home: Path) -> None:
    batches = {
        f"cifar-10-batches-py/{name}": pickle.dumps({"data": b"x"}, 2) for name in ("batches.meta", "data_batch_1")
    }
    on_disk(home, batches)
    with pytest.raises(
        DataError, match=r"is a Python pickle of CIFAR-10, which is never loaded .*use the binary versi"
    ):
        featx.init("cifar-10-batches-py")
    record = RNG.integers(0, 256, (6, 3073), dtype=np.uint8)
    record[:, 0] = [0, 1, 2, 0, 1, 2]
    files = {"data_batch_1.bin": record.tobytes(), "test_batch.bin": record[:3].tobytes()}
    on_disk(home / "cifar-10-batches-bin", files)
    recognition, listing = recognised("cifar-10-batches-bin", "arrays")
    assert (recognition.classes, recognition.parts) == ({"0": 3, "1": 3, "2": 3}, {"train": 6, "test": 3})
    assert (content(listing, "data_batch_1.bin#5") == record[5, 1:].reshape(3, 32, 32)).all()


def test_affectnet(home: Path) -> None:
    files = dict(flat(PNGS, "images/"))
    for row in range(10):
        values = {"exp": str(row % 2), "val": "0.25", "aro": "-0.5"}
        files |= {f"annotations/{row}_{name}.npy": encode_npy(value) for name, value in values.items()}
        files[f"annotations/{row}_lnd.npy"] = encode_npy(np.zeros(136))
    on_disk(home / "affect", files)
    recognition, listing = recognised("affect", "annotations")
    assert (recognition.target, recognition.classes) == ("exp", {"0": 5, "1": 5})
    assert listing.manifest.labels.loc["images/3.png"].to_dict() == {"aro": -0.5, "exp": 1, "val": 0.25}
