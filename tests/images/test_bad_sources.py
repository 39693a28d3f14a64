"""Untidy label tables, annotations and folders: they are read, or reported in one line with the next step.

Modules: images.sources.
"""

import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.cli.main import main
from featx.errors import DataError, IncompleteError
from featx.images.digests import identify_image
from featx.images.readers import read_source
from featx.specs.data import ReaderSpec
from tests.images.listings import drawn, listed, refused
from tests.recipes import LABEL_TABLE, toy_recipe


def test_a_broken_annotation_is_reported_by_name(tmp_path: Path) -> None:
    drawn(tmp_path, *(f"images/{number}.png" for number in range(4)))
    (tmp_path / "annotations").mkdir()
    for number in range(4):
        np.save(tmp_path / "annotations" / f"{number}_class.npy", np.int64(number % 2))
    annotation = tmp_path / "annotations" / "2_class.npy"
    for content in (annotation.read_bytes()[:50], b"", b"no numpy"):
        annotation.write_bytes(content)
        message = refused(tmp_path)
        assert message.startswith("annotation 'annotations/2_class.npy' ")
        assert message.endswith("; correct or remove it")
    np.save(annotation, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "annotation 'annotations/2_class.npy' cannot be read" in refused(tmp_path)  # never unpickled
    annotation.unlink()
    (tmp_path / "annotations" / "2.json").write_text('{"class": ')
    assert "annotation 'annotations/2.json' cannot be read" in refused(tmp_path)


def test_an_image_without_an_annotation_has_no_label(tmp_path: Path) -> None:
    drawn(tmp_path, "0.png", "1.png", "2.png")
    (tmp_path / "0.cls").write_text("0")
    (tmp_path / "1.cls").write_text("1")
    assert listed(tmp_path).manifest.column("cls").isna().tolist() == [False, False, True]


def test_repeated_paths_are_reported_with_count_and_example(tmp_path: Path) -> None:
    drawn(tmp_path, "a.png", "b.png")
    (tmp_path / "t.csv").write_text("path,y\na.png,1\nb.png,2\na.png,1\nb.png,1\n")
    assert refused(tmp_path) == (
        "t.csv: 1 images have several rows with different labels, first 'b.png' (y '2' and '1'); expected one row for "
        "each image: remove rows, or write several labels into one cell with '|' between them"
    )


def test_a_table_as_a_spreadsheet_writes_it_is_read(tmp_path: Path) -> None:
    drawn(tmp_path, "a b.png", "c.png", "d.png")
    content = "File Name ; Class\r\n a b.png ; cat \r\n c.png;dog  \r\nd.png;  cat\r\n"
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    listing = listed(tmp_path)
    assert listing.known == {}
    assert listing.manifest.ids.tolist() == ["a b.png", "c.png", "d.png"]
    assert listing.manifest.labels.to_dict("list") == {"Class": ["cat", "dog", "cat"]}


def test_missing_labels_are_an_error_or_dropped(toy_home: Path) -> None:
    rows = [f"{path.relative_to('images')},{path.parent.name}" for path in sorted(Path("images").rglob("*.png"))]
    gaps = {3: "", 17: "NaN", 30: "  "}
    rows = [f"{row.partition(',')[0]},{gaps[number]}" if number in gaps else row for number, row in enumerate(rows)]
    Path("images/labels.csv").write_text("\n".join(["path,class", *rows]))
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, head=None))
    extraction = featx.extract()
    assert (extraction.n_embedded, extraction.parts) == (48, {})
    assert "targets.class: 3 of 48 images have no 'class', first 'dark/003.png'; " in extraction.label_problem
    with pytest.raises(IncompleteError, match="the images have no split: targets.class: 3 of 48 images"):
        featx.fit(heads="logreg")
    extraction = featx.extract(drop_unlabelled=True)
    assert (extraction.n_found, extraction.n_cached, extraction.n_ignored) == (48, 45, 3)
    assert extraction.ignored == {"has no label in column 'class'": 3}


def test_paths_with_backslashes_are_found(tmp_path: Path) -> None:
    drawn(tmp_path, "images/deep/a.png", "images/deep/b.png")
    (tmp_path / "t.csv").write_text("path,y\nimages\\deep\\a.png,1\nimages\\deep\\b.png,2\n")
    listing = listed(tmp_path)
    assert (listing.known, len(listing)) == ({}, 2)
    assert [Path(uri).name for uri in listing.manifest.uris] == ["a.png", "b.png"]
    assert listing.manifest.ids.tolist() == ["images\\deep\\a.png", "images\\deep\\b.png"]
    assert set(listing.ignored) <= {"t.csv"}


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_unicode_form_is_found(in_table: str, on_disk: str, tmp_path: Path) -> None:
    names = ["é/ü.png", "é/ñ.png"]
    drawn(tmp_path, *(unicodedata.normalize(on_disk, name) for name in names))
    lines = [f"{unicodedata.normalize(in_table, name)},{number}" for number, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["path,y", *lines]))
    listing = listed(tmp_path)
    assert (listing.known, [identify_image(uri).outcome for uri in listing.manifest.uris]) == ({}, ["", ""])
    assert listing.manifest.ids.tolist() == [line.partition(",")[0] for line in lines]


def said_by(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    sys.argv = ["featx", *words.split()]
    with pytest.raises(SystemExit, match=r"^\d+$|^None$") as exit_info:
        main()
    output = capsys.readouterr()
    return int(exit_info.value.code or 0), output.out, output.err


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
    assert "no images with labels were recognised" in refused(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"'.*a\.png' is not a folder and not an archive"):
        read_source(ReaderSpec(source=str(tmp_path / "a.png")), Path())
