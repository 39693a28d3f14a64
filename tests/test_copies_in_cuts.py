"""Copies of an image are on one side of every split, so that memorised images do not increase a score.

Modules: tables.resampling_units.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binom

import featx
from featx.study.study import Study
from featx.tables.resampling_units import assign_folds, join_units
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

N_ORIGINALS = 60


def write_images_with_copies(kind: str, duplicates: str) -> None:
    """Write 60 images, each three times, with random labels, and a recipe."""
    rng = np.random.default_rng(3)
    rows = []
    Path("images").mkdir()
    for number in range(N_ORIGINALS):
        label = "ab"[rng.integers(2)]
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)
        for copy in range(3):
            name = f"{number:03}-{copy}.{'jpg' if kind == 'encoded' and copy else 'png'}"
            if kind == "resized" and copy:
                picture.resize((96 - 16 * copy, 96 - 16 * copy), Image.Resampling.BICUBIC).save(f"images/{name}")
            else:
                picture.save(f"images/{name}", **({"quality": 95 - 10 * copy} if name.endswith("jpg") else {}))
            rows.append({"path": name, "y": label})
    pd.DataFrame(rows).to_csv("images/labels.csv", index=False)
    Path("featx.toml").write_text(
        toy_recipe(
            data=LABEL_TABLE,
            targets={"y": {"column": "y"}},
            split={"duplicates": duplicates, "test": 0, "val": 0.3},
            head=toy_heads("knn", "svm", trials=2, folds=4),
        )
    )


@pytest.mark.parametrize(
    ("kind", "duplicates"),
    [("exact", "together"), ("exact", "independent"), ("encoded", "independent"), ("resized", "independent")],
)
def test_random_labels_of_copies_score_at_chance_in_the_folds(home: Path, kind: str, duplicates: str) -> None:
    write_images_with_copies(kind, duplicates)
    featx.extract()
    featx.fit()
    study = Study.open(None)
    units = dict(zip(study.ids("train"), study.groups(study.ids("train")), strict=True))
    max_accuracy = binom.isf(1e-4, len(set(units.values())), 0.5) / len(set(units.values()))
    for run in study.runs():
        oof = run.predictions.of("oof")
        folds = pd.DataFrame({"unit": [units[name] for name in oof.ids], "fold": oof.fold})
        assert folds.groupby("unit")["fold"].nunique().max() == 1
        assert run.metrics.oof["accuracy"] < max_accuracy
    pictures = pd.Series(units).groupby(lambda name: name.partition("-")[0]).nunique()
    assert (pictures == 1).all()


def test_near_copies_are_searched_once_before_the_first_fit(home: Path) -> None:
    write_images_with_copies("encoded", "independent")
    featx.extract()
    featx.fit(heads=["knn"])
    written_at_ns = Path("runs/featx/copies.parquet").stat().st_mtime_ns
    featx.fit(heads=["svm"])
    featx.evaluate()
    assert Path("runs/featx/copies.parquet").stat().st_mtime_ns == written_at_ns


def test_folds_keep_units_whole_and_are_stratified() -> None:
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 3, 300)
    copies = np.arange(300)
    copies[100:130] = copies[:30]
    strata[100:130] = strata[:30]
    for units in (None, copies, rng.integers(0, 40, 300)):
        fold = assign_folds(strata, units, 5, seed=1)
        assert set(fold) == set(range(5))
        if units is not None:
            assert pd.Series(fold).groupby(units).nunique().max() == 1
    shares = pd.crosstab(assign_folds(strata, copies, 5, seed=1), strata, normalize="index").to_numpy()
    assert np.abs(shares - np.bincount(strata) / 300).max() < 0.08


def test_rows_connected_by_shared_keys_are_one_unit() -> None:
    patients = ["p", "p", "q", None, "r"]
    digests = ["1", "2", "2", "3", None]
    assert join_units(5, [patients, digests]).tolist() == [0, 0, 0, 1, 2]
    assert join_units(5, [patients, digests], (np.array([4]), np.array([3]))).tolist() == [0, 0, 0, 1, 1]
