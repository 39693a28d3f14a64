"""The five studies' recipes run end to end on miniatures of their data, and print the studies' tables."""

import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

import featx
from featx.cli.main import main
from featx.evaluation.evaluation_table import Evaluation
from featx.study.study import Study
from tests.miniatures import WRITERS, lay_out

PAGE = (Path(__file__).parents[1] / "docs" / "studies.md").read_text()


def run_small(home: Path, study: str, final: bool = True) -> str:
    """Run the small preset of a study's recipe on its miniature, and return the place of the preset."""
    recipe = f"{lay_out(home, study)}#small"
    featx.run(recipe, final=final)
    return recipe


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must succeed, and return what it prints in 80 columns."""
    capsys.readouterr()
    sys.argv = ["featx", *words]
    with pytest.raises(SystemExit) as exit_info:
        main()
    output = capsys.readouterr()
    assert not exit_info.value.code, output.err
    return output.out


def settings_of(evaluation: Evaluation, *names: str) -> set[tuple[object, ...]]:
    """Return the values of some settings of each run."""
    return {tuple(row.settings.get(name) for name in names) for row in evaluation.rows}


def test_every_study_has_a_page() -> None:
    for study in WRITERS:
        assert f"## {study}\n" in PAGE
        assert f"featx run pipelines/{study}.toml" in PAGE


def test_celeba_gender(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run_small(home, "celeba_gender")

    table = pd.read_csv(home / "data" / "celeba_gender" / "list_attr_celeba.csv")
    train, held_out = train_test_split(table, test_size=0.2, random_state=42)
    val, test = train_test_split(held_out, test_size=0.5, random_state=42)
    split = Study.open(recipe).split
    for part, rows in (("train", train), ("val", val), ("test", test)):
        names = {Path(name).name for name in split.index[split == part]}
        assert names == set(rows["image_id"])

    (evaluation,) = featx.evaluate(recipe)
    strategies_and_rates = {("head", 1e-3), ("head", 1e-4), ("last-block", 1e-3), ("last-block", 1e-4)}
    assert settings_of(evaluation, "strategy", "lr") == strategies_and_rates
    assert evaluation.classes == ["female", "male"]
    assert all({"accuracy"} <= set(row.train_scores) for row in evaluation.rows)
    grid = printed(capsys, "evaluate", "-r", recipe, "--by", "strategy,lr")
    assert all(word in grid for word in ("head", "last-block", "lr 0.0001", "lr 0.001", "train"))
    assert max(map(len, grid.splitlines())) <= 80


@pytest.mark.slow
def test_affect(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run_small(home, "affect")
    emotion, feeling = featx.evaluate(recipe, final=True)
    assert {"accuracy", "weighted_f1", "kappa", "auc_ovr"} <= set(emotion.rows[0].scores)
    assert {
        f"{score}.{column}" for score in ("rmse", "mae", "pearson", "ccc", "sagr") for column in ("val", "aro")
    } <= set(feeling.rows[0].scores)
    assert len([row for row in emotion.rows if not row.is_ensemble]) == 2
    assert len([row for row in feeling.rows if not row.is_ensemble]) == 2
    tables = printed(capsys, "evaluate", "-r", recipe)
    assert "val" in tables


@pytest.mark.slow
def test_age_bias(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run_small(home, "age_bias")
    (evaluation,) = featx.evaluate(recipe, final=True)
    losses = {"mse", "huber", "log_cosh", "poisson", "msle", "mape", "cross_entropy"}
    assert {str(row.settings["loss"]) for row in evaluation.rows} == losses
    for row in evaluation.rows:
        assert {"gender", "age_band", "expression", "ethnicity"} <= set(row.biases)
    by_weights = printed(capsys, "evaluate", "-r", recipe, "--by", "loss,group_weight")
    assert all(name in by_weights for name in ("gender", "age_band", "expression", "ethnicity"))
    assert "too few" in printed(capsys, "evaluate", "-r", recipe, "--groups")


def test_happy_sad(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run_small(home, "happy_sad")
    study = Study.open(recipe)
    parts = study.split.groupby([study.split, study.split.index.str.split("/").str[1]]).size().unstack()
    assert parts.loc["test", "happy"] == parts.loc["test", "sad"]

    (evaluation,) = featx.evaluate(recipe, final=True)
    single = [row for row in evaluation.rows if not row.is_ensemble]
    assert {row.label for row in single} == {"own_cnn", "vgg16", "improved_vgg16", "xgboost"}
    assert {row.run.split("-")[0] for row in evaluation.rows if row.is_ensemble} == {"majority", "soft", "weighted"}
    assert {"accuracy", "macro_precision", "macro_recall", "macro_f1"} <= set(evaluation.rows[0].scores)
    (trees,) = (run for run in study.runs() if run.name.startswith("xgboost"))
    booster = joblib.load(trees.path / "model.joblib")[-1]
    assert (booster.max_depth, booster.n_estimators, booster.gamma) == (5, 1000, 1)
    assert trees.metrics.trees is not None
    assert len(trees.metrics.trees.train_loss) == 1000

    for number, file in enumerate(sorted((home / "data" / "happy_sad" / "test").glob("[hs]a*/*.jpg"))[::4]):
        (home / "photos" / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((96, 96)).save(home / "photos" / file.parent.name / f"{number}.png")
    table = printed(capsys, "predict", str(home / "photos"), "-r", recipe)
    assert all(name in table for name in ("own_cnn", "vgg16", "improved_vgg16", "xgboost"))
    assert "score on the" in table


@pytest.mark.slow
def test_earth(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run_small(home, "earth", final=False)
    (evaluation,) = featx.evaluate(recipe)
    assert evaluation.part == "val"
    heads = {row.run.split("-")[0] for row in evaluation.rows if not row.is_ensemble}
    assert {"logreg", "rf", "svm", "xgboost"} <= heads
    ensembles = [row for row in evaluation.rows if row.is_ensemble]
    assert {row.run.split("-")[0] for row in ensembles} == {"study", "greedy", "stacking"}
    defences = {"vgg16_adversarial", "vgg16_distilled", "transformer", "smoothed"}
    assert defences <= {row.run.split("-")[0] for row in evaluation.rows}
    attacks = printed(capsys, "attack", "-r", recipe, "--verbose")
    assert all(f" {name} " in attacks for name in ("fgsm", "pgd", "transfer", "cw", "patch", "majority"))
    classes = printed(capsys, "evaluate", "-r", recipe, "--per-class")
    assert classes.count(" R ") >= len(evaluation.rows)
    report = (Study.open(recipe).folder / "report.html").read_text()
    assert "sealed" not in report + classes
    assert np.isfinite(evaluation.rows[0].scores["accuracy"])
