"""Effect of `class_weight = "balanced"` on probabilities and decisions, over 20 samples with 8 % positives."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score

from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainRows
from featx.metrics.reliability import reliability
from featx.specs.head import HeadSpec
from featx.tables.target_values import ClassTargets
from tests.heads.test_decisions import probabilities, rows_of
from tests.heads.test_heads import head_for, start_of

N_SEEDS = 20
POSITIVE_SHARE = 0.08
COLUMNS = ("log loss", "mean P", "ECE", "balanced accuracy", "recall")


def draw_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and codes; the class means differ by 1.5 standard deviations, in 5 of 20 features."""
    rng = np.random.default_rng(seed)
    codes = (rng.random(n) < POSITIVE_SHARE).astype(np.int64)
    x = rng.normal(size=(n, 20))
    x[:, :5] += 1.5 / np.sqrt(5) * codes[:, None]
    return x.astype(np.float32), codes


def measure_scores(name: str, rows: TrainRows, seed: int) -> list[float]:
    new_rows, truth = draw_rows(4000, 1000 + seed)
    head = head_for(name, rows)
    params = start_of(head) | ({"min_samples_leaf": 20} if name == "rf" else {})
    model, _ = fit_out_of_fold(head, params, rows, HeadSpec(name=name))
    proba, y_pred = probabilities(model, new_rows), model.predict(new_rows)
    targets = ClassTargets(("no", "yes"), truth)
    return [
        log_loss(truth, proba),
        proba[:, 1].mean(),
        reliability(targets, proba).ece,
        balanced_accuracy_score(truth, y_pred),
        recall_score(truth, y_pred),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logreg", "svm", "lda", "rf"])
def test_balanced_weights_raise_recall_and_keep_calibration(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    means = {}
    for weight in ("none", "balanced"):
        rows = [rows_of(*draw_rows(800, seed), weight) for seed in range(N_SEEDS)]
        if weight == "balanced" and not head_for(name, rows[0]).accepts_weights:
            pytest.skip(f"{name} takes no weights")
        means[weight] = np.mean(
            [measure_scores(name, train_rows, seed) for seed, train_rows in enumerate(rows)], axis=0
        )
    with capsys.disabled():
        for weight, values in means.items():
            cell_text = ", ".join(f"{column} {value:.3f}" for column, value in zip(COLUMNS, values, strict=True))
            print(f"\n{name:7} {weight:9} {cell_text}", end="")
    plain_means, balanced_means = means["none"], means["balanced"]
    assert balanced_means[0] < plain_means[0] + 0.02
    assert balanced_means[1] == pytest.approx(POSITIVE_SHARE, abs=0.015)
    assert balanced_means[2] < plain_means[2] + 0.015
    assert balanced_means[3] > plain_means[3] + 0.1
    assert balanced_means[4] > 0.6
