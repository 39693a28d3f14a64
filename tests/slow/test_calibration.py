"""Calibration errors of all heads on unseen solar cells are within the range of perfectly calibrated probabilities."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import featx
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainRows
from featx.metrics.reliability import reliability
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.study.study import Study
from featx.tables.target_values import ClassTargets, TargetValues
from tests.benchmarks.search import RECIPE
from tests.heads.test_heads import head_for, start_of

N_DRAWS = 1000
N_SPLITS = 3


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> TrainRows:
    """Return the features and classes of all solar cells."""
    folder = tmp_path_factory.mktemp("cells")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("featx.toml").write_text(RECIPE)
        featx.extract()
        study = Study.open(None)
        ids = study.ids("train")
        x, codes = read_embeddings(study, ids, locked_embeddings(study)).x, study.truth("defective").take(ids).codes
    return TrainRows(x, ClassTargets(("functional", "defective"), codes))


def ece(targets: TargetValues, proba: np.ndarray) -> float:
    return reliability(targets, proba).ece


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS.names())
def test_calibration_error_is_within_chance_of_perfect_calibration(
    name: str, cells: TrainRows, capsys: pytest.CaptureFixture[str]
) -> None:
    """One calibrated head in twenty exceeds its bound on a split, therefore the median over splits is tested."""
    excesses, increases = zip(
        *(calibration_margins(name, cells, seed, capsys) for seed in range(N_SPLITS)), strict=True
    )
    assert np.median(excesses) <= 0
    # Calibration does not increase the error significantly.
    assert np.median(increases) <= 0


def calibration_margins(
    name: str, cells: TrainRows, seed: int, capsys: pytest.CaptureFixture[str]
) -> tuple[float, float]:
    """Return the error on 656 cells minus its bound, and the lower limit of the increase that calibration causes."""
    parts = train_test_split(np.arange(len(cells)), test_size=656, random_state=seed, stratify=cells.targets.y)
    train_rows, test_rows = (cells.take(positions) for positions in parts)
    spec, head, rng = HeadSpec(name=name), head_for(name, train_rows), np.random.default_rng(0)
    params = start_of(head)
    model, unseen = fit_out_of_fold(head, params, train_rows, spec)
    calibrated = model.predict_proba(test_rows.x)
    sampled_labels = (rng.random((N_DRAWS, len(test_rows))) < calibrated[:, 1]).astype(int)
    error = ece(test_rows.targets, calibrated)
    bound = float(
        np.quantile([ece(ClassTargets(test_rows.targets.names, y), calibrated) for y in sampled_labels], 0.95)
    )
    raw_ece, increase_limit = float("nan"), -1.0
    if not head.needs_calibration:
        uncalibrated = fit_pipeline(head, params, train_rows, "none", spec).predict_proba(test_rows.x)
        raw_ece = ece(test_rows.targets, uncalibrated)
        rows = rng.integers(0, len(test_rows), (N_DRAWS, len(test_rows)))
        increases = [
            ece(test_rows.targets.take(positions), calibrated[positions])
            - ece(test_rows.targets.take(positions), uncalibrated[positions])
            for positions in rows
        ]
        increase_limit = float(np.quantile(increases, 0.05))
    with capsys.disabled():
        print(
            f"\n{name:8} {unseen.method:12} ECE {error:.4f} "
            f"(95 % of calibrated ones: {bound:.4f}); before {raw_ece:.4f}"
        )
    return error - bound, increase_limit
