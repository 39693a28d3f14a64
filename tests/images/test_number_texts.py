"""Label tables whose numbers have several notations, or are codes: targets, classes and ids stay apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.embeddings.labelled_listing import read_listing
from featx.evaluation.group_membership import group_rows
from featx.images.init import init
from featx.images.readers import Listing, read_source
from featx.specs.data import ReaderSpec
from featx.specs.recipe import load_recipe
from featx.specs.target import TargetSpec
from featx.study.study import Study
from featx.tables.encoding import encode_classes, encode_labels, encode_numbers
from tests.images.test_public_layouts import draw, recognised, write
from tests.recipes import toy_recipe

N = 12


def listed(folder: Path, column: list[str], names: list[str] | None = None) -> Listing:
    """Return the images of a table with a column ``y`` of these texts."""
    names = names or [f"{i}.png" for i in range(len(column))]
    draw(folder / "d", *names)
    write(folder / "d", "labels.csv", [("path", "y"), *zip(names, column, strict=True)])
    data = ReaderSpec.model_validate({"source": "d", "labels": {"file": "labels.csv"}})
    return read_source(data, folder)


def test_ids_of_many_digits_are_different_patients(home: Path) -> None:
    ids = [str(9_300_000_000_000_000_000 + i) for i in range(N)]
    assert listed(home, ids).manifest.labels["y"].tolist() == ids


def test_codes_that_are_one_number_are_different_classes(home: Path) -> None:
    manifest = listed(home, ["1.1", "1.10", "1.2", "1.20"] * 3).manifest
    assert encode_classes(manifest, "y", TargetSpec(column="y")).classes == ("1.1", "1.10", "1.2", "1.20")
    recognition = init(home / "d", target="y")
    assert recognition.classes == {"1.1": 3, "1.10": 3, "1.2": 3, "1.20": 3}
    text = "classes '1.1' (3) and '1.10' (3) are one number; if they are one, set map = { \"1.10\" = \"1.1\" }"
    assert text in recognition.warnings


def test_numbers_in_several_notations_are_targets(home: Path) -> None:
    manifest = listed(home, ["1", "1.0", "2.50", "1e1"]).manifest
    assert encode_numbers(manifest, "y", TargetSpec(column="y", kind="numbers")).values[:, 0].tolist() == [
        1,
        1,
        2.5,
        10,
    ]
    truth = encode_classes(manifest, "y", TargetSpec(column="y", above=1))
    assert truth.codes.tolist() == [0, 0, 1, 1]


def test_labels_in_several_notations_are_labels(home: Path) -> None:
    manifest = listed(home, ["1", "1.0", "0", "0.0"]).manifest
    manifest = manifest.with_column("z", manifest.labels["y"].shift(1, fill_value="0"))
    labels = encode_labels(manifest, "t", TargetSpec(column="y", columns=("y", "z"), kind="labels"))
    assert np.asarray(labels.values).tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_measured_numbers_in_several_notations_are_proposed_as_numbers(home: Path) -> None:
    listed(home, ["1", "1.0", *(f"{i}.5" for i in range(30))])
    recognition = recognised(home / "d")[0]
    assert (recognition.target, recognition.kind) == ("y", "numbers")


@pytest.mark.parametrize("n_digits", [19, 20])
def test_numbers_of_many_digits_name_images(n_digits: int, home: Path) -> None:
    names = [f"{10 ** (n_digits - 1) + i}.png" for i in range(N)]
    draw(home / "d", *names)
    rows = [(name.removesuffix(".png"), "cat" if i % 2 else "dog") for i, name in enumerate(names)]
    write(home / "d", "labels.csv", [("image", "y"), *rows])
    assert recognised(home / "d")[0].classes == {"cat": 6, "dog": 6}


def semicolon_table(folder: Path, *columns: tuple[str, list[str]]) -> None:
    n = len(columns[0][1])
    draw(folder / "d", *(f"{i}.png" for i in range(n)))
    rows = [(f"{i}.png", *(cells[i] for _, cells in columns)) for i in range(n)]
    write(folder / "d", "labels.csv", [("path", *(name for name, _ in columns)), *rows], ";")


@pytest.mark.parametrize("decimal", [{}, {"decimal": "comma"}])
def test_labels_with_the_decimal_comma_as_separator_stay_labels(decimal: dict[str, str], toy_home: Path) -> None:
    semicolon_table(toy_home, ("y", ["1,3", "2,4", "3", "1,10"] * 3), ("age", ["0,5", "1,5", "2", "3"] * 3))
    data = {"source": "d", "labels": {"file": "labels.csv", **decimal}}
    target = {"column": "y", "kind": "labels", "separator": ","}
    (toy_home / "featx.toml").write_text(toy_recipe(data=data, targets={"y": target}))
    listing, _, problem = read_listing(Study.open("featx.toml"), False, lambda *_: None)
    assert not problem
    assert listing.manifest.labels["age"].tolist()[:3] == [0.5, 1.5, 2.0]
    truth = encode_labels(listing.manifest, "y", load_recipe().targets["y"])
    assert truth.names == ("1", "10", "2", "3", "4")


def test_decimal_commas_below_whole_numbers_are_a_number_and_are_named(home: Path) -> None:
    semicolon_table(home, ("score", [str(i) for i in range(60)] + [f"{i},5" for i in range(30)]))
    recognition = recognised(home / "d")[0]
    assert (recognition.target, recognition.kind) == ("score", "numbers")
    assert any("decimal commas in 'score'" in sentence for sentence in recognition.choice)


def test_long_numbers_are_different_groups() -> None:
    numbers = [10**17 + i for i in range(3)]
    membership = group_rows("patient", pd.Series(numbers))
    assert (membership.groups, membership.codes.tolist()) == (tuple(map(str, numbers)), [0, 1, 2])


def test_measured_numbers_in_several_notations_are_bins_of_groups() -> None:
    column = pd.Series(["1", "1.0", *(f"{i}.5" for i in range(30))])
    assert len(group_rows("age", column).groups) == 5
