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
from featx.tables.target_values import TargetValues
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
    return TrainRows(x, TargetValues("classes", ("functional", "defective"), codes))


def ece(targets: TargetValues, proba: np.ndarray) -> float:
    return reliability(targets, proba).ece


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS.names())
def test_calibration_error_is_within_chance_of_perfect_calibration(
    name: str, cells: TrainRows, capsys: pytest.CaptureFixture[str]
) -> None:
    """One calibrated head in twenty exceeds its bound on a split, therefore the median over splits is tested."""
    above, worse = zip(*(calibration_margins(name, cells, seed, capsys) for seed in range(N_SPLITS)), strict=True)
    assert np.median(above) <= 0
    # Calibration does not increase the error significantly.
    assert np.median(worse) <= 0


def calibration_margins(
    name: str, cells: TrainRows, seed: int, capsys: pytest.CaptureFixture[str]
) -> tuple[float, float]:
    """Return the error on 656 cells minus its bound, and the lower limit of the increase that calibration causes."""
    parts = train_test_split(np.arange(len(cells)), test_size=656, random_state=seed, stratify=cells.targets.y)
    train_rows, test_rows = (cells.take(part_rows) for part_rows in parts)
    spec, head, rng = HeadSpec(name=name), head_for(name, train_rows), np.random.default_rng(0)
    params = start_of(head)
    model, unseen = fit_out_of_fold(head, params, train_rows, spec)
    after = model.predict_proba(test_rows.x)
    drawn = (rng.random((N_DRAWS, len(test_rows))) < after[:, 1]).astype(int)
    error = ece(test_rows.targets, after)
    bound = float(np.quantile([ece(TargetValues("classes", test_rows.targets.names, y), after) for y in drawn], 0.95))
    before, worse = float("nan"), -1.0
    if not head.needs_calibration:
        own = fit_pipeline(head, params, train_rows, "none", spec).predict_proba(test_rows.x)
        before = ece(test_rows.targets, own)
        rows = rng.integers(0, len(test_rows), (N_DRAWS, len(test_rows)))
        gains = [
            ece(test_rows.targets.take(part_rows), after[part_rows])
            - ece(test_rows.targets.take(part_rows), own[part_rows])
            for part_rows in rows
        ]
        worse = float(np.quantile(gains, 0.05))
    with capsys.disabled():
        print(
            f"\n{name:8} {unseen.method:12} ECE {error:.4f} (95 % of calibrated ones: {bound:.4f}); before {before:.4f}"
        )
    return error - bound, worse
