"""Test accuracy of the chosen run on ELPV under five outer folds; the choice does not use the test rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.model_selection import StratifiedKFold

import featx
from featx.locations import resolve_source
from featx.specs.recipe import load_recipe

ROOT = Path(__file__).parents[2]
N_FOLDS = 5
MIN_ACCURACY = 0.865


def write_fold_recipe(test: np.ndarray, labels: pd.DataFrame, source: Path, home: Path) -> Path:
    """Write solar_cells.toml with these test rows, and return its path; val is split from the other rows."""
    parts = np.where(np.isin(np.arange(len(labels)), test), "test", "train")
    table = home / "labels.csv"
    labels.assign(part=parts).to_csv(table, index=False)
    text = (ROOT / "pipelines" / "solar_cells.toml").read_text()
    start, end = text.index("[data]"), text.index("[targets")
    data = f'[data]\nsource = "{source}"\nlabels = {{ file = "{table}" }}\n\n'
    path = home / "fold.toml"
    path.write_text((text[:start] + data + text[end:]).replace("[split]", '[split]\ncolumn = "part"'))
    return path


@pytest.mark.slow
def test_accuracy_of_chosen_run_and_weighted_ensemble_over_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATX_CACHE", str(ROOT / "cache"))
    recipe = load_recipe(ROOT / "pipelines" / "solar_cells.toml")
    source = Path(resolve_source(recipe.data.source, recipe.folder))
    labels = pd.read_csv(source / "labels.csv", sep=r"\s+", names=["path", "defect", "cell"])
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(labels, labels["defect"] > 0.5)
    rows = []
    for number, (_, test) in enumerate(folds):
        monkeypatch.setenv("FEATX_RUNS", str(tmp_path / f"runs{number}"))
        fold = write_fold_recipe(test, labels, source, tmp_path)
        featx.run(fold)
        (comparison,) = featx.evaluate(fold, final=True)
        accuracy = {row.run: row.scores["accuracy"] for row in comparison.rows}
        members = [row.scores["accuracy"] for row in comparison.rows if not row.is_ensemble]
        weighted_accuracies = next(value for run, value in accuracy.items() if run.startswith("weighted"))
        rows.append(
            (
                comparison.chosen.split("-")[0],
                accuracy[comparison.chosen],
                weighted_accuracies,
                float(np.median(members)),
            )
        )
        with capsys.disabled():
            name, chosen_accuracy, weighted_accuracy, median_accuracy = rows[-1]
            print(f"\nfold {number}: chosen {name} {chosen_accuracy:.4f}", end=", ")
            print(f"weighted ensemble {weighted_accuracy:.4f}, median member {median_accuracy:.4f}")
    chosen_accuracies, weighted_accuracies, median_accuracies = (
        np.array(column) for column in list(zip(*rows, strict=True))[1:]
    )
    half_width = t.ppf(0.975, N_FOLDS - 1) * chosen_accuracies.std(ddof=1) / np.sqrt(N_FOLDS)
    with capsys.disabled():
        print(
            f"chosen run: mean test accuracy {chosen_accuracies.mean():.4f} ± {half_width:.4f} "
            f"(95 %, t over {N_FOLDS} outer folds)"
        )
        print(f"weighted ensemble {weighted_accuracies.mean():.4f}, median member {median_accuracies.mean():.4f}")
    assert chosen_accuracies.mean() >= MIN_ACCURACY
    assert weighted_accuracies.mean() >= median_accuracies.mean()
