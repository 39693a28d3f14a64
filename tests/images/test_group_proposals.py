"""Groups that the split keeps together: columns of persons first, of nested ones the largest.

Modules: images.column_roles.
"""

from pathlib import Path

import pandas as pd
import pytest

from featx.images.column_roles import find_identity_words, holds_only_dates, rank_identity
from featx.images.group_proposals import propose_groups
from featx.images.init import init
from featx.specs.recipe import load_recipe
from tests.images.test_public_layouts import draw, recognised, write

N = 96


def write_columns(folder: Path, **columns: list[object]) -> None:
    """Write images and a table with these columns, and the column ``file`` in front."""
    draw(folder, *(f"{i}.png" for i in range(N)))
    rows = zip(*columns.values(), strict=True)
    write(folder, "labels.csv", [("file", *columns), *((f"{i}.png", *row) for i, row in enumerate(rows))])


def numbered(letter: str, n_each: int) -> list[object]:
    """Return values with a letter for so many images each."""
    return [f"{letter}{i // n_each}" for i in range(N)]


DIAGNOSIS: list[object] = [["benign", "malignant"][i // 4 % 2] for i in range(N)]


def test_a_patient_column_with_an_empty_cell_is_reported(home: Path) -> None:
    write_columns(home / "d", patient_id=[*numbered("P", 4)[:-1], ""], diagnosis=DIAGNOSIS)
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.split.by is None
    (warning,) = recognition.warnings
    assert warning.startswith("column 'patient_id' has 1 empty cell: images of one 'patient_id' may come into several")


def test_another_identity_is_taken_beside_patients_with_empty_cells(home: Path) -> None:
    write_columns(home / "d", patient_id=["", "", *numbered("P", 4)[2:]], lesion=numbered("L", 2), y=DIAGNOSIS)
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.split.by == "lesion"
    assert any("column 'patient_id' has 2 empty cells" in warning for warning in recognition.warnings)


@pytest.mark.parametrize("n_shared", [0, 1, 3])
def test_patients_in_several_given_parts_are_reported(n_shared: int, home: Path) -> None:
    parts: list[object] = ["test" if i // 4 % 4 == 0 else "train" for i in range(N)]
    for group in range(n_shared):
        parts[4 * group] = "train" if parts[4 * group] == "test" else "test"
    write_columns(home / "d", patient_id=numbered("P", 4), y=DIAGNOSIS, split=parts)
    # The recipe itself is refused where patients are shared.
    recognition, recipe = init(home / "d"), load_recipe()
    assert (recipe.split.by, recipe.split.column) == ("patient_id", "split")
    warnings = [text for text in recognition.warnings if "in several parts of the given split" in text]
    assert len(warnings) == bool(n_shared)
    if warnings:
        assert warnings[0].startswith(f"{n_shared} of 24 values of 'patient_id' are in several parts of the given ")
        assert "first 'P0' in test and train, and 'featx fit' refuses this: remove 'column' from [split]" in warnings[0]


def test_few_patients_are_reported() -> None:
    labels = pd.DataFrame({"patient": list("abc") * 4, "site": list("xy") * 6})
    groups = propose_groups(labels)
    assert groups.column is None
    (warning,) = groups.warnings
    assert warning.startswith("column 'patient' has only 3 values, too few for split.by")


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (("StudyDate_DICOM", "StudyID", "PatientID"), "PatientID"),
        (("series", "lesion_id", "subject"), "subject"),
        (("PatientBirthDate", "study_time", "examid"), "examid"),
    ],
)
def test_patients_are_kept_together_rather_than_their_examinations(
    names: tuple[str, ...], group: str, home: Path
) -> None:
    dates: list[object] = [f"2024-05-{1 + i // 2 % 20:02}" for i in range(N)]
    values: dict[str, list[object]] = {
        name: dates if "Date" in name or "time" in name else numbered("x", 4 if name == group else 2) for name in names
    }
    write_columns(home / "d", **values, finding=DIAGNOSIS)
    assert recognised(home / "d", target="finding")[1].split.by == group


@pytest.mark.parametrize("order", [("study", "series"), ("series", "study")])
def test_the_largest_of_nested_groups_is_taken(order: tuple[str, str]) -> None:
    columns = {"study": numbered("s", 6), "series": numbered("t", 2)}
    assert propose_groups(pd.DataFrame({name: columns[name] for name in order})).column == "study"


def test_the_first_of_crossed_groups_is_taken() -> None:
    crossed = pd.DataFrame({"scene": [i % 12 for i in range(N)], "video": [i // 8 for i in range(N)]})
    assert propose_groups(crossed).column == "scene"


def test_a_word_and_its_number_may_be_one_word(home: Path) -> None:
    write_columns(home / "d", patientid=numbered("", 4), sex=[*"MMMMFFFF"] * (N // 8), finding=DIAGNOSIS)
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.split.by == "patientid"
    assert recognition.target == "sex"


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ([f"family{i // 16}" for i in range(N)], [f"species{i // 8:02}" for i in range(N)]),
        ([f"family{i // 16}" for i in range(N)], [f"family{i // 16} {'sick' if i % 2 else 'well'}" for i in range(N)]),
        # One class is in two groups, and there are more groups than classes.
        ([f"f{min(i // 14, 6)}" for i in range(N)], [f"c{min(i // 14, 5)}" for i in range(N)]),
    ],
)
def test_groups_that_contain_whole_classes_are_reported(group: list[object], target: list[object], home: Path) -> None:
    write_columns(home / "d", family=group, label=target)
    recognition, recipe, _ = recognised(home / "d")
    assert (recognition.target, recipe.split.by) == ("label", None)
    assert sum("column 'family' is not taken as split.by" in warning for warning in recognition.warnings) == 1


def test_doubled_class_folders_are_no_groups(home: Path) -> None:
    draw(home / "d", *(f"{name}/{name}/{i}.png" for name in "abcdef" for i in range(8)))
    recognition, recipe, _ = recognised(home / "d")
    assert (len(recognition.classes), recipe.split.by) == (6, None)
    (warning,) = recognition.warnings
    assert "6 of 6 classes have all their images in one 'subfolder'" in warning


def test_a_rare_class_of_one_patient_does_not_drop_the_patients() -> None:
    labels = pd.DataFrame({"patient": numbered("p", 4), "y": ["rare"] * 4 + DIAGNOSIS[4:]})
    assert propose_groups(labels, ["y"], labels["y"]).column == "patient"
    labels["y"] = [f"rare{i // 4}" if i < 24 else value for i, value in enumerate(DIAGNOSIS)]
    assert propose_groups(labels, ["y"], labels["y"]).column == "patient"


def test_groups_that_contain_columns_of_classes_are_none(home: Path) -> None:
    codes = [i // 32 for i in range(N)]
    columns: dict[str, list[object]] = {name: [int(code == k) for code in codes] for k, name in enumerate("abc")}
    write_columns(home / "d", family=[f"f{i // 32 if i < 64 else i // 8}" for i in range(N)], **columns)
    recognition, recipe, _ = recognised(home / "d")
    assert (len(recognition.classes), recipe.split.by) == (3, None)


@pytest.mark.parametrize("name", ["patientid", "PATIENT_ID", "caseno", "subjectnr", "lesions", "PatientID", "userids"])
def test_names_of_identities_are_recognised(name: str) -> None:
    assert find_identity_words(name)
    assert rank_identity(name, pd.Series(["a", "b"])) is not None


@pytest.mark.parametrize("name", ["casino", "finding", "database", "baseline", "planting", "id"])
def test_other_names_are_no_identities(name: str) -> None:
    assert not find_identity_words(name)


@pytest.mark.parametrize(
    ("values", "are_dates"),
    [
        (["2024-05-01", "2024/06/02"], True),
        (["01.05.2024", None], True),
        (["2024-05-01 10:30:00"], True),
        ([20240501, 20240502], True),
        ([2024, 2023], False),
        (["2024-05-01", "robin"], False),
        (["1.2.34"], False),
        ([None], False),
    ],
)
def test_columns_of_dates_are_recognised(values: list[object], are_dates: bool) -> None:
    assert holds_only_dates(pd.Series(values)) == are_dates
