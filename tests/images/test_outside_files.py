"""Sources that refer to other files of this machine: refused, or reported in a warning."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import featx
from featx.errors import DataError, IncompleteError, ReadError
from featx.files.parsing import ParseError, read_parquet
from featx.images.arrays import external_label_files, read_row
from featx.images.readers import read_source
from featx.specs.data import LabelsSpec, ReaderSpec
from featx.study.study import Study
from tests.image_files import wait_until_settled

SHAPE = (6, 8, 8)
SECRET = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
Hidden = Callable[[h5py.File, Path], None]


def external(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", SHAPE, "u1", external=[(os.fsencode(secret), 0, SECRET.nbytes)])


def virtual(file: h5py.File, secret: Path) -> None:
    other_file = secret.with_suffix(".h5")
    with h5py.File(other_file, "w") as inner:
        inner["secret"] = SECRET
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource(other_file, "secret", SHAPE)
    file.create_virtual_dataset("x", layout)


def relative(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.parent / "beside.h5", "w") as inner:
        inner["secret"] = SECRET
    layout = h5py.VirtualLayout(SHAPE, "u1")
    for row in range(6):
        layout[row] = h5py.VirtualSource("beside.h5", "secret", SHAPE)[row]
    file.create_virtual_dataset("x", layout)


def recipe_of(folder: Path, extra: str = "") -> Path:
    arrays = '[[data.arrays]]\nimages = "a.h5#x"\nlabels = { y = "a.h5#y" }\n'
    targets = '[targets.y]\ncolumn = "y"\n[[embedding]]\nbackbone = "toy"\nweights = "none"\n'
    (folder / "featx.toml").write_text(f'[data]\nsource = "a.h5"\n{extra}\n{arrays}{targets}')
    return folder / "featx.toml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(SECRET.tobytes())
    return tmp_path


@pytest.mark.parametrize("hide", [external, virtual, relative])
@pytest.mark.parametrize("column", ["x", "y"])
def test_values_in_other_files_are_refused_unless_allowed(hide: Hidden, column: str, home: Path) -> None:
    with h5py.File("a.h5", "w") as file:
        hide(file, home / "secret")
        if column == "y":
            file.move("x", "z")
            file["x"] = SECRET
            file["y"] = file["z"]
        else:
            file["y"] = [0, 1, 0, 1, 0, 1]
    refusal = r"takes its values from other files, first '.*(secret|beside).*'; copy them .* 'external = true'"
    with pytest.raises(DataError, match=refusal):
        featx.init("a.h5")
    with pytest.raises(DataError, match=refusal):
        featx.extract(recipe_of(home))
    with pytest.raises(ReadError, match=refusal):
        read_row(f"{home / 'a.h5'}//{column}/0")
    if column == "x":
        assert featx.extract(recipe_of(home, "external = true")).n_embedded == 6
        np.testing.assert_array_equal(read_row(f"{home / 'a.h5'}//x/1?external"), SECRET[1])


def test_label_files_beside_array_files_are_part_of_the_state(home: Path) -> None:
    (home / "sub").mkdir()
    with h5py.File("sub/labels.h5", "w") as other:
        other["y"] = [0, 1, 0, 1, 0, 1]
    with h5py.File("sub/a.h5", "w") as file:
        file["x"] = SECRET
        layout = h5py.VirtualLayout((6,), "i8")
        layout[:] = h5py.VirtualSource("labels.h5", "y", (6,))
        file.create_virtual_dataset("y", layout)
    arrays = [{"images": "sub/a.h5#x", "labels": {"y": "sub/a.h5#y"}}]
    data = ReaderSpec.model_validate({"source": ".", "arrays": arrays, "external": True})
    assert external_label_files(data, home) == [home / "sub" / "labels.h5"]


def test_links_to_other_files_are_not_followed(home: Path) -> None:
    with h5py.File("other.h5", "w") as inner:
        inner["secret"] = SECRET
    with h5py.File("a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "secret")
        file["y"] = [0, 1, 0, 1, 0, 1]
    for extra in ("", "external = true"):
        with pytest.raises(DataError, match="has no dataset 'x'; datasets: 'y'"):
            featx.extract(recipe_of(home, extra))


def test_a_virtual_dataset_of_its_own_file_is_read(home: Path) -> None:
    with h5py.File("a.h5", "w") as file:
        file["inside"], file["y"] = SECRET, [0, 1, 0, 1, 0, 1]
        layout = h5py.VirtualLayout(SHAPE, "u1")
        layout[:] = h5py.VirtualSource(file["inside"])
        file.create_virtual_dataset("x", layout)
    assert featx.extract(recipe_of(home)).n_embedded == 6


def test_paths_outside_the_source_are_one_warning(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    (source / "in..side").mkdir(parents=True)
    inside_paths = ["a.png", "in..side/b.png", "in..side/../c.png", str(source / "d.png")]
    outside_paths = ["../e.png", str(tmp_path / "f.png"), "in..side/../../g.png"]
    for name in (*inside_paths, *outside_paths):
        Image.new("RGB", (4, 4)).save(source / name)
    table = "path,class\n" + "".join(
        f"{name},{number % 2}\n" for number, name in enumerate([*inside_paths, *outside_paths])
    )
    (source / "labels.csv").write_text(table)
    listing = read_source(ReaderSpec(source=str(source), labels=LabelsSpec(file="labels.csv")), tmp_path)
    assert len(listing) == 7
    expected = f"3 paths of labels.csv point outside {source}, first '../e.png'; check them"
    assert listing.warnings == (expected,)
    (source / "labels.csv").write_text("path,class\n" + "".join(f"{name},a\n" for name in inside_paths))
    assert not read_source(ReaderSpec(source=str(source), labels=LabelsSpec(file="labels.csv")), tmp_path).warnings


def test_a_parquet_table_that_states_too_many_values_is_refused(tmp_path: Path) -> None:
    n_rows = 20_000_000
    column = pa.array(np.zeros(n_rows, np.uint8))
    pq.write_table(pa.table({f"c{number}": column for number in range(30)}), tmp_path / "labels.parquet")
    content = (tmp_path / "labels.parquet").read_bytes()
    assert len(content) < 2 << 20
    with pytest.raises(ParseError, match="it states 600000000 values, expected at most 500000000"):
        read_parquet(content)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_out_of_an_archive_are_ignored_with_a_reason(kind: str, home: Path) -> None:
    for name in ("dark", "light"):
        Path("files", name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(f"files/{name}/0.png")
    members = {"dark/0.png": "dark/0.png", "light/0.png": "light/0.png", "../evil.png": "dark/0.png"}
    members |= {"dark/../../evil.png": "dark/0.png"}
    if kind == "zip":
        with zipfile.ZipFile("a.zip", "w") as archive:
            for member, file in members.items():
                archive.writestr(member, Path("files", file).read_bytes())
    else:
        with tarfile.open("a.tar", "w") as archive_file:
            for member, file in members.items():
                archive_file.add(Path("files", file), member)
    recognition = featx.init(f"a.{kind}")
    assert recognition.classes == {"dark": 1, "light": 1}
    assert recognition.ignored == {"its path leads out of its folder in the archive": 2}


def test_changed_values_in_other_files_are_noticed(home: Path) -> None:
    with h5py.File("a.h5", "w") as file:
        external(file, home / "secret")
        file["y"] = [0, 1, 0, 1, 0, 1]
    wait_until_settled()
    recipe = recipe_of(home, "external = true")
    assert featx.extract(recipe).n_embedded == 6
    (home / "secret").write_bytes((255 - SECRET).tobytes())
    wait_until_settled()

    assert featx.extract(recipe).n_embedded == 6


def test_changed_labels_in_other_files_need_a_new_extraction(home: Path) -> None:
    (home / "labels").write_bytes(bytes([0, 1, 0, 1, 0, 1]))
    with h5py.File("a.h5", "w") as file:
        file["x"] = SECRET
        file.create_dataset("y", (6,), "u1", external=[(str(home / "labels"), 0, 6)])
    recipe = recipe_of(home, "external = true")
    featx.extract(recipe)
    assert len(Study.open(recipe).manifest) == 6
    (home / "labels").write_bytes(bytes([1, 0, 1, 0, 1, 0]))

    with pytest.raises(IncompleteError, match=r"\[data\] or its label file changed"):
        Study.open(recipe).manifest  # noqa: B018
