"""Annotations that name the objects in images: COCO, LabelMe, YOLO, Pascal VOC and Roboflow's exports.

Modules: images.containers.categories, images.containers.coco, images.containers.one_hot_tables,
images.containers.shape_files, images.containers.yolo.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from featx.errors import DataError
from featx.images.containers.coco import iterate_lists
from featx.images.init import init, recognise
from featx.images.readers import Listing, read_source
from featx.locations import label_file_states
from featx.specs.data import ReaderSpec
from tests.layouts import PNGS, coco_files, flat, labelme_files, on_disk, one_hot_files, voc_files, yolo_files


def listed(source: Path, reader: str) -> Listing:
    spec = recognise(str(source), None)
    assert spec.reader == reader
    return read_source(spec, Path())


def refused(source: Path, reader: str) -> str:
    """Return the error of a reader, which is one line."""
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error_info:
        read_source(ReaderSpec(source=str(source), reader=reader), Path())
    return str(error_info.value)


def coco(names: Mapping[str, list[int]], **extra: Any) -> bytes:
    """Return a COCO file of images with the numbers of their categories."""
    pairs = [(number, category) for number, codes in enumerate(names.values()) for category in codes]
    content = {
        "info": {"deep": [{"list": []}]},
        "annotations": [{"image_id": number, "category_id": category} for number, category in pairs],
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(["cat", "dog", "eel"])],
    }
    return json.dumps({**content, **extra}, indent=1).encode()


# COCO


def test_images_with_several_categories_have_columns_of_0_and_1(tmp_path: Path) -> None:
    files = {"train/a.png": PNGS[0], "train/b.png": PNGS[1], "valid/c.png": PNGS[2], "test/c.png": PNGS[3]}
    files |= {"train/_annotations.coco.json": coco({"a.png": [0, 2, 2], "b.png": []})}
    files |= {f"{part}/_annotations.coco.json": coco({"c.png": [2]}) for part in ("valid", "test")}
    files |= {"test/d.png": PNGS[4], "README.txt": b"x"}
    listing = listed(on_disk(tmp_path, files), "coco")
    labels = listing.manifest.labels
    assert list(labels.columns) == ["cat", "eel", "split"]
    assert labels.loc["train/a.png"].tolist() == [1, 1, "train"]
    assert labels.loc["train/b.png"].tolist() == [0, 0, "train"]
    assert labels.loc["test/c.png"].tolist() == [0, 1, "test"]
    assert labels.loc["valid/c.png"].tolist() == [0, 1, "val"]
    assert listing.ignored == {
        **{f"{part}/_annotations.coco.json": "is an annotation" for part in ("train", "valid", "test")},
        "test/d.png": "has no annotation",
        "README.txt": "is not an image: its suffix is '.txt'",
    }


def test_files_of_keypoints_and_captions_do_not_replace_instances(tmp_path: Path) -> None:
    files = dict(coco_files(PNGS))
    names = {f"{row:012}.png": [0] for row in range(7)}
    files["annotations/person_keypoints_train2017.json"] = coco(names, categories=[{"id": 0, "name": "person"}])
    files["annotations/captions_train2017.json"] = b'{"images": [], "annotations": []}'
    listing = listed(on_disk(tmp_path, files), "coco")
    assert set(listing.manifest.labels["class"]) == {"cat", "dog"}
    assert (
        listing.ignored["annotations/person_keypoints_train2017.json"] == "names the same images as another COCO file"
    )
    assert listing.ignored["annotations/captions_train2017.json"] == "is not an image: its suffix is '.json'"


def test_files_of_categories_are_annotations_and_no_damaged_tables(tmp_path: Path) -> None:
    recognition = init(on_disk(tmp_path / "d", dict(coco_files(PNGS))), recipe=tmp_path / "featx.toml")
    assert recognition.reader == "coco"
    assert set(recognition.inventory.uses) == {"image", "is an annotation"}
    assert recognition.inventory.tables == ()
    assert not any("cannot be read as a table" in warning for warning in recognition.warnings)


def test_an_image_that_is_not_there_is_missing(tmp_path: Path) -> None:
    on_disk(tmp_path, {"images/a.png": PNGS[0], "a.json": coco({"/home/me/a.png": [0], "b.png": [1]})})
    listing = listed(tmp_path, "coco")
    assert listing.manifest.ids.tolist() == ["images/a.png", "b.png"]
    assert listing.known == {"b.png": ("missing", "there is no such file")}


def test_another_json_file_that_cannot_be_read_is_no_coco(tmp_path: Path) -> None:
    on_disk(tmp_path, {**coco_files(PNGS), "other.json": b'{"images": '})
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2 << 30)
    listing = listed(tmp_path, "coco")
    assert len(listing) == 10
    (tmp_path / "large.json").rename(tmp_path / "instances_large.json")
    assert "annotation 'instances_large.json' has 2147483648 bytes, expected at most" in refused(tmp_path, "coco")


def test_a_name_that_fits_two_files_is_reported(tmp_path: Path) -> None:
    on_disk(tmp_path, {"x/a.png": PNGS[0], "y/a.png": PNGS[1], "coco.json": coco({"a.png": [0]})})
    assert "names 'a.png', which 2 files are called, first 'x/a.png' and 'y/a.png'; write" in refused(tmp_path, "coco")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (coco({"a.png": [0]})[:-30], "cannot be read as COCO: "),
        (coco({"a.png": [7]}), "uses category 7, which it does not define"),
        (coco({"a.png": [0]}, categories=[{"name": "cat"}]), "cannot be read as COCO: KeyError: 'id'"),
        (coco({"a.png": [0]}, categories=[[0]]), "cannot be read as COCO: TypeError"),
        (coco({"a.png": [0]}, categories=[{"id": [], "name": ""}]), "cannot be read as COCO: TypeError"),
        (coco({"a.png": [0]}, categories={"id": 1}), "cannot be read as COCO: ValueError: expected '['"),
        (coco({"a.png": [0]}).replace(b"[]", b"[" * 100_000), "cannot be read as COCO: "),
    ],
    ids=["truncated", "undefined", "key", "list", "unhashable", "object", "deep"],
)
def test_a_broken_coco_file_is_reported(content: bytes, reason: str, tmp_path: Path) -> None:
    on_disk(tmp_path, {"a.png": PNGS[0], "coco.json": content})
    assert f"annotation 'coco.json' {reason}" in refused(tmp_path, "coco")


def test_lists_are_parsed_element_by_element() -> None:
    elements = iterate_lists('{"a": [1, 2, broken', ("a",))
    assert next(elements) == ("a", 1)
    assert list(iterate_lists(' { "b" : { } , "a" : [ ] } ', ("a",))) == []
    with pytest.raises(ValueError, match="expected '{' at character 0"):
        list(iterate_lists("[]", ("a",)))


# YOLO


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", b"nc: 2\nnames: ['cat', 'dog']\n"),
        ("deep/coco.yml", b"names:\n- cat\n- dog\n"),
        ("labels/classes.txt", b"cat\r\ndog\r\n"),
        ("obj.names", b"cat\ndog"),
        ("train/_darknet.labels", b"cat\ndog"),
        ("other.yaml", b"key: value"),
    ],
)
def test_names_of_yolo_classes_come_from_any_usual_file(name: str, content: bytes, tmp_path: Path) -> None:
    files = {
        **flat(PNGS[:4], "images/"),
        **{f"labels/{row}.txt": f"{row % 2} .1 .2 .3 .4".encode() for row in range(4)},
    }
    listing = listed(on_disk(tmp_path, {**files, name: content}), "yolo")
    expected = ["0", "1"] if name == "other.yaml" else ["cat", "dog"]
    assert listing.manifest.labels["class"].tolist() == expected * 2
    if name != "other.yaml":
        assert listing.ignored[name] == "names the classes"


def test_yolo_images_with_several_classes_polygons_and_none(tmp_path: Path) -> None:
    labels = {"train/labels/0.txt": b"0 .1 .1 .1 .1\n2 .1 .1 .5 .5 .7 .7 .9 .9\n", "train/labels/1.txt": b"2 0 0 1 1"}
    labels |= {"valid/labels/2.txt": b"", "data.yaml": b"names: [cat, dog, eel]"}
    images = {f"{part}/images/{row}.png": PNGS[row] for row, part in enumerate(["train", "train", "valid", "valid"])}
    listing = listed(on_disk(tmp_path, {**labels, **images}), "yolo")
    assert listing.manifest.labels.to_dict("list") == {
        "cat": [1, 0, 0],
        "eel": [1, 1, 0],
        "split": ["train", "train", "val"],
    }
    assert listing.ignored["valid/images/3.png"] == "has no annotation"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("0.txt", b"0 .1 .2\n", "annotation '0.txt': line 1 is '0 .1 .2', expected 'class x y width height'"),
        ("0.txt", b"0 .1 .2 .3 .4\ncat .1 .2 .3 .4", "annotation '0.txt': line 2 is 'cat"),
        ("0.txt", b"5 .1 .2 .3 .4", "annotation '0.txt' uses class 5, but 'data.yaml' names 2 classes"),
        ("data.yaml", b"names: &a [*a, cat]", "'data.yaml' cannot be read as plain YAML: it uses aliases"),
        (
            "data.yaml",
            b"names: !!python/object/apply:os.system ['x']",
            "'data.yaml' cannot be read as plain YAML: could",
        ),
        ("data.yaml", b"names: {a: cat}", "'data.yaml': 'names' is {'a': 'cat'}; expected a list, or numbers with"),
        ("data.yaml", b"[" * 5000, "'data.yaml' cannot be read as plain YAML: "),
        ("more.yaml", b"names: [eel]", "'data.yaml' and 'more.yaml' name different classes; remove one of them"),
    ],
    ids=["short", "word", "class", "alias", "object", "mapping", "deep", "two"],
)
def test_broken_yolo_files_are_reported(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    files = {"data.yaml": b"names: [cat, dog]", "0.png": PNGS[0], "0.txt": b"0 .1 .2 .3 .4", name: content}
    assert reason in refused(on_disk(tmp_path, files), "yolo")


def test_label_files_with_one_value_are_no_yolo(tmp_path: Path) -> None:
    on_disk(tmp_path, {**flat(PNGS), **{f"{row}.txt": str(row % 2).encode() for row in range(10)}})
    assert recognise(str(tmp_path), None).reader == "annotations"


# LabelMe and Pascal VOC


def test_labelme_files_with_several_labels_have_columns(tmp_path: Path) -> None:
    files = dict(labelme_files(PNGS))
    files["3.json"] = json.dumps({"shapes": [{"label": "cat"}, {"label": "eel"}]}).encode()
    labels = listed(on_disk(tmp_path, files), "labelme").manifest.labels
    assert list(labels.columns) == ["cat", "dog", "eel"]
    assert labels.loc["3.png"].tolist() == [1, 0, 1]


def test_a_labelme_file_of_another_format_is_reported(tmp_path: Path) -> None:
    on_disk(tmp_path, {**labelme_files(PNGS), "9.json": b'{"label": "cat"}'})
    assert refused(tmp_path, "labelme") == "annotation '9.json' is not of format 'labelme'; remove it"
    on_disk(tmp_path, {"9.json": b'{"label": '})
    assert refused(tmp_path, "labelme").startswith("annotation '9.json' is not JSON: ")


def test_voc_parts_come_from_its_lists_and_parts_of_objects_are_no_names(tmp_path: Path) -> None:
    listing = listed(on_disk(tmp_path, voc_files(PNGS)), "voc")
    assert listing.manifest.labels.loc["JPEGImages/7.png"].to_dict() == {"class": "dog", "split": "val"}
    assert set(listing.manifest.labels["class"]) == {"cat", "dog"}
    assert listing.ignored["ImageSets/Main/val.txt"] == "lists the images of a part"


def test_voc_files_that_define_entities_or_are_broken_are_reported(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "aaaa"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
    for content, reason in ((bomb, "it defines a document type"), (b"<annotation><object>", "no element found")):
        on_disk(tmp_path, {**voc_files(PNGS), "Annotations/9.xml": content})
        assert f"annotation 'Annotations/9.xml' cannot be read as XML: {reason}" in refused(tmp_path, "voc")


# Roboflow's tables


def test_one_hot_tables_with_several_classes_have_columns(tmp_path: Path) -> None:
    files = dict(one_hot_files(PNGS))
    files["val/_classes.csv"] = b"filename, cat, dog\n6.png, 1, 1\n7.png, 0, 0\ngone.png,0,1\n"
    listing = listed(on_disk(tmp_path, files), "one_hot")
    assert listing.manifest.labels.loc["val/6.png"].tolist() == [1, 1, "val"]
    assert listing.known == {"val/gone.png": ("missing", "there is no such file")}
    assert listing.ignored["train/_classes.csv"] == "is the label table"


def test_a_table_of_other_values_is_reported(tmp_path: Path) -> None:
    on_disk(tmp_path, {**one_hot_files(PNGS), "val/_classes.csv": b"filename, cat\n6.png, 2\n"})
    assert refused(tmp_path, "one_hot") == (
        "annotation 'val/_classes.csv' has the columns filename, cat; expected 'filename' and columns of 0 and 1"
    )


@pytest.mark.parametrize("name", ["filename", "cat"])
def test_a_table_with_two_columns_of_one_name_is_reported(name: str, tmp_path: Path) -> None:
    content = f"filename,cat,{name}\n6.png,1,1\n".encode()
    on_disk(tmp_path, {**one_hot_files(PNGS), "val/_classes.csv": content})
    assert refused(tmp_path, "one_hot") == (
        f"annotation 'val/_classes.csv' has several columns called {name!r}; expected different names; correct or "
        "remove it"
    )


@pytest.mark.parametrize(
    ("reader", "file"),
    [
        ("coco", "annotations/instances_train2017.json"),
        ("yolo", "labels/train/0.txt"),
        ("yolo", "data.yaml"),
        ("voc", "ImageSets/Main/val.txt"),
        ("labelme", "0.json"),
        ("one_hot", "train/_classes.csv"),
    ],
)
def test_a_changed_annotation_changes_the_label_states(reader: str, file: str, tmp_path: Path) -> None:
    layouts = {"coco": coco_files, "yolo": yolo_files, "voc": voc_files}
    make = (layouts | {"labelme": labelme_files, "one_hot": one_hot_files})[reader]
    spec = ReaderSpec(source=str(on_disk(tmp_path, make(PNGS))), reader=reader)
    states_before = label_file_states(spec, Path())
    (tmp_path / file).write_text("changed")
    assert label_file_states(spec, Path()) != states_before
