"""Label tables are recognised and read, and mistakes in them are reported."""

import datetime
from pathlib import Path

import pandas as pd
import pytest

from featx.errors import DataError, ReadError
from featx.images.label_files import read_labels
from featx.images.readers import read_source
from featx.images.table import TableReader
from featx.images.trees import FolderTree
from featx.specs.data import LabelsSpec, ReaderSpec
from featx.tables.manifest import Manifest

ROWS = [("images/a b.png", 0.5, "cat"), ("images/c.png", 1.0, "dog"), ("images/d.png", 0.0, "cat")]


def text(separator: str, header: str | None = "path,level,name", rows: list[tuple[str, float, str]] = ROWS) -> str:
    """Return the rows as the text of a table."""
    lines = [separator.join(map(str, row)) for row in rows]
    return "\n".join([header.replace(",", separator), *lines] if header else lines) + "\n"


def recognised(folder: Path, labels: Path | None = None) -> Manifest:
    """Return the manifest of a folder, read as its table is recognised."""
    (folder / "images").mkdir(exist_ok=True)
    for name, *_ in ROWS:
        (folder / name).touch()
    data = TableReader().recognise(str(folder), labels and str(labels))
    assert data is not None
    return TableReader().read(data, Path("/elsewhere")).manifest


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"], ids=["", "with a byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("header", ["path,level,name", None], ids=["header", "no header"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", "], ids=["comma", "semicolon", "tab", "comma and space"])
def test_a_text_table_is_recognised(
    separator: str, header: str | None, end: str, encoding: str, tmp_path: Path
) -> None:
    content = text(separator, header).replace("\n", end)
    (tmp_path / "table.csv").write_text(content, encoding=encoding, newline="")
    manifest = recognised(tmp_path)
    assert manifest.ids.tolist() == [name for name, _, _ in ROWS]
    assert all(Path(uri).is_file() for uri in manifest.uris)
    assert list(manifest.labels.columns) == (["level", "name"] if header else ["column2", "column3"])
    assert manifest.labels.to_numpy().tolist() == [[0.5, "cat"], [1.0, "dog"], [0.0, "cat"]]


def test_a_parquet_table_is_recognised_with_values_of_any_kind(tmp_path: Path) -> None:
    day = datetime.date(2020, 1, 2)
    frame = pd.DataFrame(ROWS, columns=["file name", "level", "self"])
    frame.assign(day=day, sure=[True, None, False]).to_parquet(tmp_path / "t.parquet")
    manifest = recognised(tmp_path)
    assert manifest.ids.tolist() == [name for name, _, _ in ROWS]
    assert manifest.column("self").tolist() == ["cat", "dog", "cat"]
    assert manifest.column("day").tolist() == [day] * 3
    assert manifest.column("sure").isna().tolist() == [False, True, False]


def test_the_shape_of_the_elpv_labels_is_recognised(tmp_path: Path) -> None:
    rows = [
        f"images/cell{i:04}.png  {i / 3}          {kind}" for i, kind in enumerate(["mono", "poly", "mono", "poly"])
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "images").mkdir()
    for row in rows:
        (tmp_path / row.split()[0]).touch()
    data = TableReader().recognise(str(tmp_path), None)
    columns = ("path", "column2", "column3")
    assert data == ReaderSpec(
        source=str(tmp_path), labels=LabelsSpec(file="labels.csv", columns=columns, separator="whitespace")
    )
    manifest = TableReader().read(data, Path()).manifest
    assert manifest.ids.tolist() == [f"images/cell{i:04}.png" for i in range(4)]
    assert manifest.column("column2").tolist() == [0, 1 / 3, 2 / 3, 1]
    assert manifest.column("column3").tolist() == ["mono", "poly", "mono", "poly"]


def test_paths_may_start_in_a_sub_folder(tmp_path: Path) -> None:
    rows = [(name.removeprefix("images/"), level, label) for name, level, label in ROWS]
    (tmp_path / "t.csv").write_text(text(",", rows=rows))
    (tmp_path / "empty").mkdir()
    manifest = recognised(tmp_path)
    assert manifest.ids.tolist() == [name for name, _, _ in rows]
    assert manifest.uris.tolist() == [str(tmp_path / name) for name, _, _ in ROWS]


@pytest.mark.parametrize("suffix", [".png", ""], ids=["names", "stems"])
def test_a_table_may_name_many_images_that_are_elsewhere(suffix: str, tmp_path: Path) -> None:
    rows = [(f"{number:04}x{suffix}", number / 2, "cat") for number in range(5000)]
    (tmp_path / "t.csv").write_text(text(",", rows=rows))
    (tmp_path / "images").mkdir()
    for number in (4999, 8, 17):
        (tmp_path / "images" / f"{number:04}x.png").touch()
    data = TableReader().recognise(str(tmp_path), None)
    assert data is not None
    listing = TableReader().read(data, tmp_path)
    assert sorted(Path(uri).name for uri in listing.manifest.uris if Path(uri).exists()) == [
        "0008x.png",
        "0017x.png",
        "4999x.png",
    ]


def test_numbers_that_are_also_names_of_few_images_make_no_label_table(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch,loss\n" + "".join(f"{number},0.5\n" for number in range(1, 200)))
    for number in (3, 4, 5):
        (tmp_path / f"{number}.png").touch()
    assert TableReader().recognise(str(tmp_path), None) is None


def test_a_table_may_be_outside_the_source_or_be_the_source(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "t.csv").write_text(text(","))
    assert len(recognised(tmp_path / "source", tmp_path / "t.csv")) == 3
    assert TableReader().recognise(str(tmp_path / "t.csv"), None) == TableReader().recognise(str(tmp_path), None)


def test_files_that_are_not_label_tables_are_skipped_unless_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00,\n1")
    (tmp_path / "c.csv").write_text("a,b\n1,2,3\n1,2,3,4,5\n")
    (tmp_path / "d.csv").write_text("path,name\n")
    (tmp_path / "e.csv").write_text("name,age\nada,36\n")
    (tmp_path / "f.parquet").write_bytes(b"PAR1")
    assert TableReader().recognise(str(tmp_path), None) is None
    (tmp_path / "z.csv").write_text(text(","))
    assert len(recognised(tmp_path)) == 3
    for name in ("a.csv", "c.csv", "f.parquet"):
        with pytest.raises(ReadError, match=f"{name} cannot be read as a table"):
            TableReader().recognise(str(tmp_path), str(tmp_path / name))
    with pytest.raises(DataError, match=r"b\.csv' has no rows; expected a column with the paths of images"):
        TableReader().recognise(str(tmp_path), str(tmp_path / "b.csv"))


def read(folder: Path, content: str, **labels: object) -> Manifest:
    """Return the manifest of a table that a recipe describes."""
    (folder / "t.csv").write_text(content)
    spec = LabelsSpec.model_validate({"file": "t.csv"} | labels)
    return read_source(ReaderSpec(source=".", labels=spec), folder).manifest


def test_a_repeated_path_with_another_label_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: 1 images have several rows .* first 'a.png' \(y '1' and '2'\)"):
        read(tmp_path, "path,y\na.png,1\nb.png,1\n a.png ,2\n")


def test_a_missing_path_column_is_reported_with_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.labels\.path: .*t\.csv has no column 'path'; columns: file, y"):
        read(tmp_path, "file,y\na.png,1\n")
    assert read(tmp_path, "file,y\na.png,1\n", path="file").labels.to_dict("list") == {"y": [1]}


def test_rows_without_a_path_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows have no path, first row 1"):
        read(tmp_path, "path,y\na.png,1\n,2\n,3\n")


def test_a_table_without_rows_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable images in"):
        read(tmp_path, "path,y\n")


def test_the_number_of_named_columns_must_fit_the_table(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"t\.csv cannot be read as a table: it has 3 columns, expected 2: path, y"):
        read(tmp_path, text(",", header=None), columns=["path", "y"])


def test_the_table_reader_needs_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.labels: is missing; the reader 'table' needs a label table"):
        TableReader().read(ReaderSpec(source=".", reader="table"), tmp_path)


def test_paths_start_at_the_root_and_text_is_stripped(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    manifest = read(tmp_path, "path;y\n  a.png  ; cat \n", root="images")
    assert manifest.ids.tolist() == ["a.png"]
    assert manifest.uris.tolist() == [str(tmp_path / "images" / "a.png")]
    assert manifest.column("y").tolist() == ["cat"]


def test_a_missing_root_is_reported_with_its_absolute_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"'{tmp_path}/gone' does not exist; expected a folder, an archive"):
        read(tmp_path, "path,y\na.png,1\n", root="gone")


def test_files_beside_the_images_that_no_row_names_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", "b.png", "notes.txt", ".hidden.png", "below/c.png"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("path,y\na.png,1\n")
    listing = read_source(ReaderSpec(source=".", labels=LabelsSpec(file="t.csv")), tmp_path)
    assert listing.manifest.ids.tolist() == ["a.png"]
    assert listing.ignored == {
        ".hidden.png": "is hidden: its name begins with '.'",
        "b.png": "is not named in t.csv",
        "notes.txt": "is not an image: its suffix is '.txt'",
        "t.csv": "is the label table",
    }


def test_a_stated_separator_is_used(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,y z\na.png,1 2\n")
    table = FolderTree(str(tmp_path)).entry("t.csv")
    by_space = read_labels(table, LabelsSpec(file="t.csv", separator="whitespace"))
    assert by_space.columns.tolist() == ["path,y", "z"]


def test_joined_columns_are_found_by_path_whatever_the_numbers_of_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["path", "level", "name"])
    frame[["path", "level"]][::-1].to_parquet(tmp_path / "levels.parquet")
    frame[["path", "name"]].to_csv(tmp_path / "names.csv", index=False)
    recognised(tmp_path, tmp_path / "levels.parquet")
    labels = LabelsSpec(file="levels.parquet", path="path", join=("names.csv",))
    manifest = read_source(ReaderSpec(source=str(tmp_path), labels=labels), Path()).manifest
    assert manifest.labels.to_numpy().tolist() == [[level, name] for _, level, name in ROWS[::-1]]
