"""Columns that are no targets: identifiers, dates, numbers of rows, and numbers with units.

Modules: images.measured_numbers.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.label_columns import find_target_objection
from tests.images.test_public_layouts import draw, recognised, write

N = 36
SPECIES = [["robin", "wren"][i % 2] for i in range(N)]
UNIQUE_NUMBERS = (10_000 + 37 * np.random.default_rng(0).permutation(N)).tolist()
AGES = [20 + 0.7 * i for i in range(N)]


def write_columns(folder: Path, **columns: list[object]) -> None:
    """Write images and a table with these columns, and the column ``file`` in front."""
    draw(folder, *(f"img{i}.png" for i in range(N)))
    rows = zip(*columns.values(), strict=True)
    write(folder, "images.csv", [("file", *columns), *((f"img{i}.png", *row) for i, row in enumerate(rows))])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("date", [f"2024-05-{1 + i // 6:02}" for i in range(N)]),
        ("taken", [20240501 + i // 6 for i in range(N)]),
        ("patient_id", [f"P{i // 6}" for i in range(N)]),
        ("lesionid", [i // 4 for i in range(N)]),
        ("id", UNIQUE_NUMBERS),
        ("image_nr", UNIQUE_NUMBERS),
        ("length", [f"{10 + i / 2:.1f} mm" for i in range(N)]),
    ],
)
def test_columns_of_another_role_are_not_the_target(name: str, values: list[object], home: Path) -> None:
    write_columns(home / "d", **{name: values, "species": SPECIES})
    recognition, _, _ = recognised(home / "d")
    assert (recognition.target, list(recognition.candidates)) == ("species", ["species"])


def test_unique_ids_are_not_the_number_to_predict(home: Path) -> None:
    write_columns(home / "d", id=UNIQUE_NUMBERS, age=AGES)
    recognition, _, _ = recognised(home / "d")
    assert (recognition.target, recognition.kind, recognition.warnings) == ("age", "numbers", [])


def test_a_column_of_patients_alone_asks_for_the_table_of_labels(home: Path) -> None:
    write_columns(home / "d", patient_id=[f"P{i // 6}" for i in range(N)])
    write(home / "d", "patients.csv", [("patient_id", "diagnosis"), *((f"P{i}", "ab"[i % 2]) for i in range(6))])
    recognition, _, _ = recognised(home / "d")
    assert recognition.target == ""
    text = "'patient_id' (identifies each patient: join the table with the labels of each 'patient_id' to this table"
    assert any(text in sentence for sentence in recognition.choice)
    (home / "featx.toml").unlink()
    assert recognised(home / "d", target="patient_id")[0].target == "patient_id"


@pytest.mark.parametrize("unit", [" mm", "kg", " %", "µm", " °C", " mm²"])
def test_a_named_target_of_numbers_with_units_is_an_error(unit: str, home: Path) -> None:
    write_columns(home / "d", size=[f"{age:.1f}{unit}" for age in AGES], species=SPECIES)
    with pytest.raises(DataError, match=rf"column 'size' holds numbers with a unit as text, first '20.0{unit}'"):
        init(home / "d", target="size")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("magnification", ["40X", "100X", "200X", "400X"] * 9),
        ("dose", ["10 mg", "20 mg"] * 18),
        ("plant", ["rose", "oak"] * 18),
        ("Id", ["w_1", "w_2", "w_3"] * 12),
        ("subject", ["portrait", "landscape"] * 18),
        ("no_lesion", [0, 1] * 18),
        ("lesion_type", ["benign", "malignant"] * 18),
        ("year", [2019, 2020] * 18),
        ("no_of_cells", UNIQUE_NUMBERS),
        ("level", [f"{i % 12}{'abcdef'[i % 6]}" for i in range(N)]),
    ],
)
def test_classes_and_numbers_are_targets(name: str, values: list[object]) -> None:
    assert find_target_objection(name, pd.Series(values)) == ""
