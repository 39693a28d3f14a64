"""Paths as tables write them, matched with the images of a source."""

import tracemalloc

import pytest

from featx.images.path_matching import ImageIndex, NameIndex, PathRule, find_rule

CASES = {
    "in a folder": (["0.png", "1.png"], ["im/0.png", "im/1.png"], ["im/0.png", "im/1.png"]),
    "without endings": (["0", "1"], ["im/0.jpg", "im/1.jpg"], ["im/0.jpg", "im/1.jpg"]),
    "without endings of two formats": (["0", "1"], ["0.png", "1.JPG"], ["0.png", "1.JPG"]),
    "endings in another case": (["0.JPG", "1.Jpg"], ["0.jpg", "1.jpg"], ["0.jpg", "1.jpg"]),
    "absolute paths of another machine": (
        [r"C:\u\data\cat\0.png", r"C:\u\data\dog\0.png"],
        ["x/cat/0.png", "x/dog/0.png"],
        ["x/cat/0.png", "x/dog/0.png"],
    ),
    "backslashes": ([r"a\0.png"], ["a/0.png"], ["a/0.png"]),
    "dots": (["./0.png", "../d/1.png"], ["0.png", "d/1.png"], ["0.png", "d/1.png"]),
    "percent-encoded": (["a%20b.png"], ["a b.png"], ["a b.png"]),
    "another Unicode form": (["\u00e9.png"], ["e\u0301.png"], ["e\u0301.png"]),
    "spread over folders": (["0.png", "1.png"], ["a/0.png", "b/1.png"], ["a/0.png", "b/1.png"]),
    "dots in names": (["v1.2_x", "v1.3_x"], ["v1.2_x.png", "v1.3_x.png"], ["v1.2_x.png", "v1.3_x.png"]),
    "a file URL": (["file:///data/0.png"], ["0.png"], ["0.png"]),
}


@pytest.mark.parametrize(("texts", "names", "expected"), CASES.values(), ids=CASES)
def test_paths_lead_to_their_images(texts: list[str], names: list[str], expected: list[str]) -> None:
    rule, n = find_rule(texts, NameIndex(names))
    prefix = "" if rule.root == "." else f"{rule.root}/"
    index = ImageIndex([name.removeprefix(prefix) for name in names if name.startswith(prefix)], rule)
    assert n == len(texts)
    assert [[prefix + name for name in index.find(text)] for text in texts] == [[name] for name in expected]


def test_a_missing_image_is_not_replaced_by_one_of_another_folder() -> None:
    names = ["cat/0.png", "cat/1.png", "dog/7.png"]
    rule, n = find_rule(["cat/0.png", "cat/1.png", "cat/7.png"], NameIndex(names))
    assert (rule, n) == (PathRule(), 2)
    assert ImageIndex(names, rule).find("cat/7.png") == []


def test_a_name_in_two_folders_is_unclear() -> None:
    names = ["a/0.png", "b/1.png", "b/0.png"]
    assert ImageIndex(names, PathRule(match="end")).find("0.png") == ["a/0.png", "b/0.png"]


def test_a_preferred_folder_is_chosen_among_equal_ones() -> None:
    names = [f"{part}/{i}.png" for part in ("test", "train") for i in range(3)]
    texts = ["0.png", "1.png"]
    assert find_rule(texts, NameIndex(names), lambda folder: folder == "train")[0].root == "train"
    assert find_rule(texts, NameIndex(names), lambda folder: folder == "test")[0].root == "test"


def test_many_images_of_one_name_take_little_memory() -> None:
    names = [f"train/patient{i:05}/study1/view1_frontal.jpg" for i in range(5000)]
    paths = [f"CheXpert/{name}" for name in names[:100]]
    tracemalloc.start()
    assert find_rule(paths, NameIndex(names)) == (PathRule(strip_folders=1), 100)
    assert find_rule([f"x{path}" for path in paths], NameIndex(names)) == (PathRule(strip_folders=1), 100)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One record for each pair of a path and an image of its name takes 150 MB.
    assert peak_bytes < 20e6


def test_names_in_folders_that_paths_lack_are_matched_by_their_ends() -> None:
    names = [f"patient{i % 50}/study{i}/view.jpg" for i in range(2000)]
    paths = [f"study{i}/view.jpg" for i in range(0, 2000, 20)]
    assert find_rule(paths, NameIndex(names)) == (PathRule(match="end"), 100)
    assert find_rule(["other/view.jpg"] * 3, NameIndex(names)) == (PathRule(strip_folders=1, match="end"), 3)
