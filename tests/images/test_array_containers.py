"""Array files as people have them: kinds of labels, encoded images, channels, parts, filters, MATLAB files.

Modules: images.containers.array_labels, images.containers.array_pairing, images.containers.hdf5,
images.containers.matlab.
"""

import io
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image

import featx
from featx.errors import DataError, ReadError
from featx.images.array_files import open_datasets
from featx.images.arrays import read_row
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.specs.recipe import load_recipe

PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (12, 16, 18, 3), dtype=np.uint8)
CODES = np.arange(12) % 3


def png(values: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def listed(source: Path) -> Listing:
    """Return the images of a source, read as it is recognised."""
    return read_source(recognise(str(source), None), Path())


def contents(listing: Listing) -> list[Any]:
    return [read_content(uri) for uri in listing.manifest.uris]


def hdf5(folder: Path, **datasets: Any) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)
    return folder / "a.h5"


LABELS: dict[str, tuple[Any, list[Any]]] = {
    "one axis": (CODES, CODES.tolist()),
    "column": (CODES.reshape(12, 1), CODES.tolist()),
    "PCam": (CODES.reshape(12, 1, 1, 1), CODES.tolist()),
    "row": (CODES.reshape(1, 12), CODES.tolist()),
    "one-hot": (np.eye(3)[CODES], CODES.tolist()),
    "fixed text": (np.array([b"cat", b"dog", b"\xc3\x96l"])[CODES], [["cat", "dog", "Öl"][code] for code in CODES]),
    "booleans": (CODES > 0, (CODES > 0).tolist()),
    "big-endian": (CODES.astype(">i4"), CODES.tolist()),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_shape_become_one_column(kind: str, tmp_path: Path) -> None:
    values, expected = LABELS[kind]
    listing = listed(hdf5(tmp_path, x=PIXELS, y=values))
    assert listing.manifest.labels.to_dict("list") == {"label": expected}


def test_text_enumerations_and_bytes_are_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = PIXELS
        file.create_dataset("word", data=[f"ä{code}" for code in CODES], dtype=h5py.string_dtype())
        file.create_dataset("raw", data=[b"\xff%d" % code for code in CODES], dtype=h5py.string_dtype("ascii"))
        file.create_dataset("kind", data=CODES, dtype=h5py.enum_dtype({"cat": 0, "dog": 1, "eel": 2}, "u1"))
    labels = listed(tmp_path / "a.h5").manifest.labels
    assert labels["word"].tolist() == [f"ä{code}" for code in CODES]
    assert labels["raw"].tolist() == [f"\\xff{code}" for code in CODES]
    assert labels["kind"].tolist() == [["cat", "dog", "eel"][code] for code in CODES]


def test_the_fields_of_a_label_table_become_columns(tmp_path: Path) -> None:
    dtype = [("species", "S4"), ("age", "<f4"), ("box", "<i4", (2,)), ("name", h5py.string_dtype())]
    rows = [(b"cat", 0.5, (row, 1), f"n{row}") for row in range(12)]
    listing = listed(hdf5(tmp_path, images=PIXELS, meta=np.array(rows, dtype=dtype)))
    labels = listing.manifest.labels
    assert list(labels.columns) == ["species", "age", "box_0", "box_1", "name"]
    assert labels.iloc[3].tolist() == ["cat", 0.5, 3, 1, "n3"]


def test_several_label_datasets_keep_their_names(tmp_path: Path) -> None:
    labels = {"labels": CODES, "target": CODES[::-1], "a/labels": CODES % 2}
    frame = listed(hdf5(tmp_path, images=PIXELS, **labels)).manifest.labels
    assert {name: frame[name].tolist() for name in frame} == {
        name.replace("/", "_"): codes.tolist() for name, codes in labels.items()
    }


def test_label_columns_have_the_same_names_in_all_parts(tmp_path: Path) -> None:
    images, labels = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    parts = {"x_train": images, "y_train": labels, "target_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "a.npz", **parts)
    frame = listed(tmp_path / "a.npz").manifest.labels
    assert sorted(frame.columns) == ["split", "target", "y"]
    assert frame["y"].notna().all()
    assert frame["target"].notna().tolist() == frame["split"].eq("train").tolist()


def test_two_label_datasets_with_one_column_name_are_refused(tmp_path: Path) -> None:
    table = np.array([(code,) for code in CODES], dtype=[("other", "i4")])
    with pytest.raises(DataError, match=r"'a.h5#(table|other)' has the column 'other', which another label dataset"):
        listed(hdf5(tmp_path, x=PIXELS, other=CODES, table=table))


@pytest.mark.parametrize("kind", ["vlen", "opaque", "bytes"])
def test_rows_of_encoded_images_are_decoded(kind: str, tmp_path: Path) -> None:
    files = [png(values) for values in PIXELS]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["y"] = CODES
        if kind == "vlen":
            x = file.create_dataset("x", (12,), h5py.vlen_dtype(np.uint8))
            for row, content in enumerate(files):
                x[row] = np.frombuffer(content, np.uint8)
        else:
            dtype = f"{'V' if kind == 'opaque' else 'S'}{max(map(len, files))}"
            file.create_dataset("x", data=np.array(files, dtype=dtype))
    listing = listed(tmp_path / "a.h5")
    assert listing.manifest.ids.tolist() == [f"a.h5#{row}" for row in range(12)]
    assert [content.rstrip(b"\0") for content in contents(listing)] == files


@pytest.mark.parametrize(("axes", "row_axis"), [((0, 3, 1, 2), "first"), ((1, 2, 3, 0), "last")])
def test_channels_first_and_images_last_are_recognised(axes: tuple[int, ...], row_axis: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS.transpose(axes), labels=CODES)
    assert recognise(str(tmp_path / "a.npz"), None).arrays[0].row_axis == row_axis
    values = contents(listed(tmp_path / "a.npz"))
    expected = PIXELS.transpose(0, 3, 1, 2) if row_axis == "first" else PIXELS
    assert (np.stack(values) == expected).all()


def test_npz_files_of_parts_and_an_object_array_are_read(tmp_path: Path) -> None:
    for part, rows in (("train", slice(8)), ("test", slice(8, 12))):
        names = np.array([{"a": 1}], dtype=object)
        np.savez(tmp_path / f"{part}.npz", x=PIXELS[rows], y=CODES[rows], names=names)
    listing = listed(tmp_path)
    assert listing.manifest.labels["split"].tolist() == ["test"] * 4 + ["train"] * 8
    assert listing.ignored == dict.fromkeys(
        ["train.npz#names", "test.npz#names"],
        "holds Python objects, expected arrays of numbers; save it again without them",
    )


def test_arrays_in_part_folders_are_paired_in_their_folder(tmp_path: Path) -> None:
    for part, rows in (("train", slice(6)), ("test", slice(6, 12))):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "images.npy", PIXELS[rows])
        np.save(tmp_path / part / "labels.npy", CODES[rows])
    (tmp_path / "train" / "notes.txt").touch()
    listing = listed(tmp_path)
    assert listing.manifest.ids[[0, 11]].tolist() == ["test/images.npy#0", "train/images.npy#5"]
    assert listing.manifest.labels["split"].value_counts().to_dict() == {"train": 6, "test": 6}
    assert listing.manifest.labels["label"].tolist() == [*CODES[6:], *CODES[:6]]
    assert listing.ignored == {"train/notes.txt": "is not an image: its suffix is '.txt'"}


def test_a_dataset_without_labels_is_accounted_for(tmp_path: Path) -> None:
    listing = listed(hdf5(tmp_path, x_train=PIXELS, y_train=CODES, x_test=PIXELS[:5]))
    assert len(listing) == 12
    assert listing.ignored == {"a.h5#x_test": "is a dataset that [[data.arrays]] does not name"}


@pytest.mark.skipif(find_spec("hdf5plugin") is not None, reason="the extra hdf5plugin is installed")
def test_a_filter_that_is_not_installed_is_named_with_its_extra(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((12, 16, 18, 3))
        settings.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 1, 15552))
        space = h5py.h5s.create_simple(PIXELS.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, settings)
        file["y"] = CODES
    with pytest.raises(DataError, match=r"a.h5: dataset 'x' is compressed with blosc, .* \"featx\[hdf5plugin\]\"$"):
        listed(tmp_path / "a.h5")


def test_datasets_with_a_plugin_filter_are_read(tmp_path: Path) -> None:
    plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=PIXELS, **plugin.Blosc())
        file.create_dataset("y", data=CODES, **plugin.Zstd())
    assert (np.stack(contents(listed(tmp_path / "a.h5"))) == PIXELS).all()


def test_a_file_that_another_program_writes_is_reported(tmp_path: Path) -> None:
    path = hdf5(tmp_path, x=PIXELS, y=CODES)
    program = f"import h5py, sys; file = h5py.File({str(path)!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(
            DataError, match=r"a.h5 is open for writing in another program, or was not closed by it; cl"
        ):
            listed(path)
        process.communicate("")
    assert len(listed(path)) == 12


def test_a_dataset_behind_a_link_is_not_found_by_its_name(tmp_path: Path) -> None:
    hdf5(tmp_path, x=PIXELS)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["group"] = h5py.ExternalLink("a.h5", "/")
        file["soft"] = h5py.SoftLink("/group/x")
    for name in ("group/x", "soft", "", "/", "group"):
        with pytest.raises(ReadError, match="cannot be read from its array"):
            read_row(f"{tmp_path / 'b.h5'}//{name}/0")


# MATLAB


def write_mat_73(path: Path, **variables: Any) -> None:
    """Write the variables as MATLAB does: HDF5 with reversed axes behind a header of text."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in variables.items():
            file[name] = np.asarray(values).T
            file[name].attrs["MATLAB_class"] = np.bytes_(str(np.asarray(values).dtype).replace("float64", "double"))
        cell = file.create_dataset("files", (1, 1), h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        file.create_group("#refs#")["a"] = PIXELS
        file.create_group("info").attrs["MATLAB_class"] = np.bytes_("struct")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


@pytest.mark.parametrize("version", ["5", "5 compressed", "7.3"])
def test_svhn_is_read_from_every_version_of_matlab_files(version: str, tmp_path: Path) -> None:
    digits = np.array([[10.0], [1], [2]] * 4)
    cases = {"train": (PIXELS.transpose(1, 2, 3, 0), digits), "test": (PIXELS[:6].transpose(1, 2, 3, 0), digits[:6])}
    for part, (images, labels) in cases.items():
        path = tmp_path / f"{part}_32x32.mat"
        if version == "7.3":
            write_mat_73(path, X=images, y=labels)
        else:
            variables = {"X": images, "y": labels, "files": np.array([["a"], [1]], dtype=object), "info": {"a": 1}}
            scipy.io.savemat(path, variables, do_compression=version == "5 compressed")
    listing = listed(tmp_path)
    assert listing.manifest.ids[[0, 17]].tolist() == ["test_32x32.mat#0", "train_32x32.mat#11"]
    assert listing.manifest.labels["split"].value_counts().to_dict() == {"train": 12, "test": 6}
    assert listing.manifest.labels["label"].tolist() == digits[:6, 0].tolist() + digits[:, 0].tolist()
    assert (np.stack(contents(listing)) == np.concatenate([PIXELS[:6], PIXELS])).all()
    recipe = tmp_path / "featx.toml"
    featx.init(tmp_path, recipe=recipe)
    assert load_recipe(recipe).data.arrays == recognise(str(tmp_path), None).arrays
    assert "is a cell array of MATLAB, expected an array of numbers" in listing.ignored["train_32x32.mat#files"]
    assert listing.ignored["train_32x32.mat#info"].startswith("is a struct of MATLAB, ")


def test_values_that_matlab_stores_in_a_smaller_type_keep_their_class(tmp_path: Path) -> None:
    ones = np.array([1, 0] * 6, dtype=np.uint8)
    flags, dimensions = np.array([6, 8, 6, 0], "<u4"), np.array([5, 8, 1, 12], "<u4")
    name = np.array([0x00010001], "<u4").tobytes() + b"y\0\0\0"
    values = np.array([2, 12], "<u4").tobytes() + ones.tobytes() + bytes(4)
    data = flags.tobytes() + dimensions.tobytes() + name + values
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    (tmp_path / "a.mat").write_bytes(header + np.array([14, len(data)], "<u4").tobytes() + data)
    array = open_datasets(tmp_path / "a.mat")["y"]
    assert (array.dtype, array.shape, array[...].tolist()) == (np.float64, (1, 12), [ones.tolist()])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_truncated_matlab_file_is_reported(share: float, is_compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"X": PIXELS.transpose(1, 2, 3, 0), "y": CODES}, do_compression=is_compressed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"\A.*a.mat cannot be read as arrays, it may be truncated: [^\n]+\Z"):
        listed(path)


def test_a_compressed_variable_that_ends_early_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"X": PIXELS.transpose(1, 2, 3, 0)}, do_compression=True)
    content = bytearray(path.read_bytes())
    n_bytes = int.from_bytes(content[132:136], "little")
    unpacked = zlib.decompress(bytes(content[136 : 136 + n_bytes]))
    compressed = zlib.compress(unpacked[:3000])
    path.write_bytes(content[:132] + len(compressed).to_bytes(4, "little") + compressed)
    identity = identify_image(f"row:{path}//X/0?last")
    assert identity.outcome == "unreadable"
    assert "needs 10368 bytes, found" in identity.reason
    path.write_bytes(content[:132] + (len(compressed) - 9).to_bytes(4, "little") + compressed[:-9])
    assert "zlib stream" in identify_image(f"row:{path}//X/0?last").reason


# CIFAR-10


def test_the_binary_version_of_cifar_is_read_with_its_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = {name: rng.integers(0, 3, (4, 3073), dtype=np.uint8) for name in ("data_batch_1", "test_batch")}
    for name, values in records.items():
        (tmp_path / f"{name}.bin").write_bytes(values.tobytes())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    listing = listed(tmp_path)
    assert listing.manifest.labels["split"].tolist() == ["train"] * 4 + ["test"] * 4
    assert listing.manifest.labels["label"].tolist() == [int(row[0]) for values in records.values() for row in values]
    assert (contents(listing)[5] == records["test_batch"][1, 1:].reshape(3, 32, 32)).all()
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"data_batch_1.bin cannot be read .* not a multiple of 3073 bytes"):
        listed(tmp_path)


def test_a_dataset_of_a_type_without_equivalent_is_ignored_with_its_reason(tmp_path: Path) -> None:
    with h5py.File(hdf5(tmp_path, x=PIXELS, y=CODES), "r+") as file:
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, space)
    listing = listed(tmp_path / "a.h5")
    assert len(listing) == 12
    assert listing.ignored["a.h5#time"].startswith("has a type that is not read: ")


@pytest.mark.parametrize("kind", ["arrays", "items", "mat"])
def test_damaged_bytes_give_one_line_or_unreadable_images(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.mat" if kind == "mat" else "a.h5")
    if kind == "mat":
        scipy.io.savemat(path, {"X": PIXELS.transpose(1, 2, 3, 0), "y": CODES}, do_compression=True)
    elif kind == "arrays":
        hdf5(tmp_path, x=PIXELS, y=CODES)
    else:
        hdf5(tmp_path, **{f"{code}__{row}": PIXELS[row] for row, code in enumerate(CODES)})
    spec, original = recognise(str(path), None), path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        content = bytearray(original)
        for position in rng.integers(0, min(len(original), 3000), 4):
            content[position] = rng.integers(256)
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(path)
        try:
            outcomes |= {identify_image(uri).outcome for uri in read_source(spec, Path()).manifest.uris}
        except DataError as error:
            outcomes.add("lines" if "\n" in str(error) else "line")
    assert "line" in outcomes
    assert outcomes <= {"line", "", "unreadable"}
