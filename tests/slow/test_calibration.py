"""Every head's probabilities of solar cells that it did not see are as good as perfectly calibrated ones would look."""

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

DRAWS = 1000
N_SPLITS = 3


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> TrainRows:
    """All solar cells."""
    folder = tmp_path_factory.mktemp("cells")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("featx.toml").write_text(RECIPE)
        featx.extract()
        study = Study.open(None)
        ids = study.ids("train")
        x, codes = read_embeddings(study, ids, locked_embeddings(study)).x, study.truth("defective").take(ids).codes
    return TrainRows(x, TargetValues("classes", ("functional", "defective"), codes))


def ece(facts: TargetValues, proba: np.ndarray) -> float:
    return reliability(facts, proba).ece


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS.names())
def test_a_heads_error_is_within_what_chance_makes_of_honest_probabilities(
    name: str, cells: TrainRows, capsys: pytest.CaptureFixture[str]
) -> None:
    """One honest head of twenty is beyond its bound on a split; most of its splits are not."""
    above, worse = zip(*(of_split(name, cells, seed, capsys) for seed in range(N_SPLITS)), strict=True)
    assert np.median(above) <= 0
    assert np.median(worse) <= 0  # not significantly worse than before


def of_split(name: str, cells: TrainRows, seed: int, capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """Return how far the error on 656 cells is above its bound, and by how much calibration surely made it worse."""
    parts = train_test_split(np.arange(len(cells)), test_size=656, random_state=seed, stratify=cells.targets.y)
    learn, held = (cells.take(at) for at in parts)
    spec, head, rng = HeadSpec(name=name), head_for(name, learn), np.random.default_rng(0)
    params = start_of(head)
    model, unseen = fit_out_of_fold(head, params, learn, spec)
    after = model.predict_proba(held.x)
    drawn = (rng.random((DRAWS, len(held))) < after[:, 1]).astype(int)
    found = ece(held.targets, after)
    bound = float(np.quantile([ece(TargetValues("classes", held.targets.names, y), after) for y in drawn], 0.95))
    before, worse = float("nan"), -1.0
    if not head.needs_calibration:
        own = fit_pipeline(head, params, learn, "none", spec).predict_proba(held.x)
        before = ece(held.targets, own)
        rows = rng.integers(0, len(held), (DRAWS, len(held)))
        gains = [ece(held.targets.take(at), after[at]) - ece(held.targets.take(at), own[at]) for at in rows]
        worse = float(np.quantile(gains, 0.05))
    with capsys.disabled():
        print(f"\n{name:8} {unseen.method:12} ECE {found:.4f} (95 % of honest ones: {bound:.4f}); its own {before:.4f}")
    return found - bound, worse
