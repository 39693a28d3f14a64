"""A chosen run that is not shown to be better than guessing is reported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe


@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize("is_predictable", [True, False])
def test_a_run_that_does_not_use_the_images_is_no_better_than_guessing(
    kind: str, is_predictable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = make_images(tmp_path / "images", n_each=60)
    value = np.array([name.startswith("light") for name in names], dtype=float)
    if not is_predictable:
        value = np.random.default_rng(0).permutation(value)
    labels = np.where(value == 1, "yes", "no") if kind == "classes" else value + np.arange(len(value)) / 1000
    pd.DataFrame({"path": names, "y": labels}).to_csv("images/labels.csv", index=False)
    data = {"source": "images", "labels": {"file": "labels.csv", "path": "path"}}
    targets = {"y": {"column": "y", "kind": kind}}
    heads = toy_heads("logreg" if kind == "classes" else "ridge")
    Path("featx.toml").write_text(toy_recipe(data=data, targets=targets, head=heads, split={"test": 0.2, "val": 0.4}))
    featx.extract()
    featx.fit()
    (evaluation,) = featx.evaluate()
    warnings = [text for text in evaluation.warnings if "is not shown to be better than guessing" in text]
    assert len(warnings) == int(not is_predictable), evaluation.rows[0].intervals
    if warnings:
        assert ("kappa" if kind == "classes" else "r2") in warnings[0]
