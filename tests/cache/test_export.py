"""``featx cache export``: the vectors of a study with ids, labels, groups and parts, for other software.

Modules: cache.exported_columns, cache.exporting.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import featx
import featx.cache
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, IncompleteError
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

FORMATS = ("npz", "h5", "parquet")
PAGE = (Path(__file__).parents[2] / "docs" / "cache.md").read_text()


def read_back(file: Path) -> dict[str, list[Any]]:
    """Return the columns of an exported file; missing texts are empty."""
    if file.suffix == ".npz":
        return {name: list(values) for name, values in np.load(file, allow_pickle=False).items()}
    if file.suffix == ".h5":
        with h5py.File(file) as h5_file:
            is_text = {name: h5py.check_string_dtype(h5_file[name].dtype) is not None for name in h5_file}
            return {name: list(h5_file[name].asstr()[:] if is_text[name] else h5_file[name]) for name in h5_file}
    frame = pd.read_parquet(file)
    return {name: frame[name].where(frame[name].notna(), "").tolist() for name in frame}


def export_and_read(file_format: str) -> dict[str, list[Any]]:
    featx.cache.export("toy", f"vectors.{file_format}")
    return read_back(Path(f"vectors.{file_format}"))


def write_table(home: Path, labels: dict[str, Any], **sections: Any) -> list[str]:
    """Write images, a table with paths and label columns, and a recipe that reads it; return the ids."""
    ids = make_images(home / "images")
    pd.DataFrame({"path": ids, **labels}).to_csv(home / "images" / "labels.csv", index=False)
    (home / "featx.toml").write_text(toy_recipe(data=LABEL_TABLE, **sections))
    return ids


@pytest.mark.parametrize("file_format", FORMATS)
def test_scikit_learn_trains_on_the_file_as_the_docs_say(toy_home: Path, file_format: str) -> None:
    featx.extract()
    featx.cache.export("toy", f"vectors.{file_format}")
    (code,) = re.findall(rf"<!-- run: {file_format} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    study = Study.open(None)
    truth = study.truth("class")
    x = read_embeddings(study, truth.ids, locked_embeddings(study)).x
    train, val = (np.isin(truth.ids, study.ids(part)) for part in ("train", "val"))
    classes = np.array(truth.classes)[truth.codes]
    model = LogisticRegression(max_iter=1000).fit(x[train], classes[train])
    assert len(code.strip().splitlines()) <= 10
    assert float(script.stdout) == model.score(x[val], classes[val])


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_holds_ids_digests_parts_and_labels(toy_home: Path, file_format: str) -> None:
    featx.extract()
    columns = export_and_read(file_format)
    study = Study.open(None)
    x = read_embeddings(study, study.manifest.ids, locked_embeddings(study)).x
    assert set(columns) == {"x", "ids", "digests", "split", "target.class"}
    assert columns["ids"] == study.manifest.ids.tolist()
    assert columns["digests"] == study.manifest.digests.tolist()
    assert columns["split"] == study.split.reindex(study.manifest.ids).tolist()
    np.testing.assert_array_equal(np.stack(columns["x"]), x)


@pytest.mark.parametrize("file_format", FORMATS)
def test_labels_of_the_test_split_stay_sealed(home: Path, file_format: str) -> None:
    write_table(home, {"class": ["dark"] * 24 + ["light"] * 24}, groups={"same": "class"})
    featx.extract()
    columns = export_and_read(file_format)
    for name, label, group, part in zip(
        *(columns[column] for column in ("ids", "target.class", "group.same", "split")), strict=True
    ):
        expected = "" if part == "test" else name.partition("/")[0]
        assert (label, group) == (expected, expected)
    assert set(columns["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("file_format", FORMATS)
def test_numbers_labels_and_groups_have_columns(home: Path, file_format: str) -> None:
    columns = {
        "age": np.arange(48) / 4,
        "red": [0, 1] * 24,
        "big": [0, 0, 1] * 16,
        "patient": [f"p{number // 2}" for number in range(48)],
        "site": ["Zürich", None] * 24,
        "height": [1.5, None] * 24,
        "scan": [10**17 + number for number in range(48)],
    }
    ids = write_table(
        home,
        columns,
        targets={"age": {"column": "age", "kind": "numbers"}, "tags": {"columns": ["red", "big"], "kind": "labels"}},
        split={"test": 0.25, "val": 0.25, "by": "patient", "stratify": False},
        groups={"site": "site", "height": "height", "scan": "scan"},
        head=None,
    )
    featx.extract()
    file_columns = export_and_read(file_format)
    parts = file_columns["split"]
    assert set(file_columns) == {
        *("x", "ids", "digests", "split", "target.age", "target.tags.red", "target.tags.big"),
        *("group.site", "group.height", "group.scan", "split_by"),
    }
    for name, column in {"age": "age", "tags.red": "red", "tags.big": "big"}.items():
        expected = np.where(np.array(parts) == "test", np.nan, columns[column])
        values = [np.nan if value == "" else value for value in file_columns[f"target.{name}"]]
        np.testing.assert_array_equal(np.array(values, dtype=float), expected)
    assert file_columns["split_by"] == columns["patient"]
    assert file_columns["group.scan"] == list(map(str, columns["scan"]))
    assert file_columns["group.site"] == ["Zürich", ""] * 24
    assert [float(value or "nan") for value in file_columns["group.height"][:1]] == [1.5]
    assert file_columns["ids"] == ids


def test_bands_of_a_target_stay_sealed_in_test(home: Path) -> None:
    sections = {"targets": {"age": {"column": "age", "kind": "numbers"}}, "head": None}
    bands = {"young": {"column": "age", "bins": [4, 9.5]}}
    write_table(home, {"age": np.arange(48) / 4}, groups=bands, **sections)
    featx.extract()
    columns = export_and_read("parquet")
    ages = np.arange(48) / 4
    expected = np.select([ages < 4, ages < 9.5], ["<4", "4–9.5"], "≥9.5")
    expected[np.array(columns["split"]) == "test"] = ""
    assert columns["group.young"] == expected.tolist()


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_study_without_targets_has_no_parts(home: Path, file_format: str) -> None:
    make_images(home / "images")
    (home / "featx.toml").write_text(toy_recipe(targets=None))
    featx.extract()
    result = featx.cache.export("toy", f"vectors.{file_format}")
    columns = read_back(Path(result.file))
    assert result.columns == ["ids", "digests", "split"]
    assert columns["split"] == [""] * 48
    assert result.warnings[0].startswith("there are no labels and no split: the recipe has no [targets]")


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_problem_of_the_labels_leaves_them_empty(home: Path, file_format: str) -> None:
    write_table(home, {"class": ["dark"] * 24 + ["light"] * 23 + [None]}, groups={"place": "nowhere"})
    featx.extract()
    result = featx.cache.export("toy", f"vectors.{file_format}")
    columns = read_back(Path(result.file))
    assert columns["split"] == columns["target.class"] == columns["group.place"] == [""] * 48
    assert "1 of 48 images have no 'class'" in result.warnings[0]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_stays_if_there_are_no_vectors(toy_home: Path, file_format: str) -> None:
    featx.extract()
    file = Path(featx.cache.export("toy", f"vectors.{file_format}").file)
    content = file.read_bytes()
    for path in Path("images").rglob("*.png"):
        path.write_bytes(b"no picture")
    featx.extract()
    with pytest.raises(DataError, match="has no vectors, so that nothing is written; run 'featx extract' first"):
        featx.cache.export("toy", file)
    assert file.read_bytes() == content


def test_two_columns_of_one_name_are_refused(home: Path) -> None:
    columns = {"red": [0, 1] * 24, "big": [0, 0, 1] * 16, "class": ["a", "b"] * 24}
    targets = {"tags": {"columns": ["red", "big"], "kind": "labels"}, "tags.big": {"column": "class"}}
    write_table(home, columns, targets=targets)
    featx.extract()
    with pytest.raises(DataError, match="two targets have a column 'target.tags.big'; rename target 'tags.big'"):
        featx.cache.export("toy", "vectors.npz")


def test_a_changed_split_is_not_exported(toy_home: Path) -> None:
    featx.extract()
    Path("featx.toml").write_text(toy_recipe(split={"test": 0.5, "val": 0.25}))
    with pytest.raises(IncompleteError, match="changed after the last extraction; run 'featx extract'"):
        featx.cache.export("toy", "vectors.npz")


def test_a_store_is_exported_by_its_name(toy_home: Path) -> None:
    featx.extract()
    (store,) = Path("cache").glob("*.zarr")
    result = featx.cache.export(store.stem, "vectors.npz")
    assert (result.n, result.n_features, result.columns) == (48, 8, ["digests"])
    assert sorted(read_back(Path("vectors.npz"))) == ["digests", "x"]
