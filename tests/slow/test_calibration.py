"""Every head's probabilities on solar cells that it did not see are as good as perfectly calibrated ones would look."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import featx
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.facts import Facts
from featx.heads.fitting import fitted, out_of_fold
from featx.heads.rows import TrainRows
from featx.registry import HEADS
from featx.reliability import reliability
from featx.specs.head import HeadSpec
from featx.workspace import Study
from tests.benchmarks.search import RECIPE
from tests.heads.test_heads import head_for, start_of

DRAWS = 1000


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainRows, TrainRows]:
    """Three quarters and a quarter (656) of the solar cells."""
    folder = tmp_path_factory.mktemp("cells")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("featx.toml").write_text(RECIPE)
        featx.extract()
        study = Study.open(None)
        ids = study.ids("train")
        x, codes = read_embeddings(study, ids, locked_embeddings(study)).x, study.truth("defective").take(ids).codes
    facts = Facts("classes", ("functional", "defective"), codes)
    learn, held = train_test_split(np.arange(len(codes)), test_size=656, random_state=0, stratify=codes)
    return TrainRows(x, facts).take(learn), TrainRows(x, facts).take(held)


def ece(facts: Facts, proba: np.ndarray) -> float:
    return reliability(facts, proba).ece


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS.names())
def test_a_heads_error_is_within_what_chance_makes_of_honest_probabilities(
    name: str, cells: tuple[TrainRows, TrainRows], capsys: pytest.CaptureFixture[str]
) -> None:
    learn, held = cells
    spec, head, rng = HeadSpec(name=name), head_for(name, learn), np.random.default_rng(0)
    params = start_of(head)
    method = out_of_fold(head, params, learn, spec).method
    after = fitted(head, params, learn, method, spec).predict_proba(held.x)
    drawn = (rng.random((DRAWS, len(held))) < after[:, 1]).astype(int)
    null = [ece(Facts("classes", held.facts.names, y), after) for y in drawn]
    found = ece(held.facts, after)
    bound = float(np.quantile(null, 0.95))
    if head.calibrated:
        before, worse = float("nan"), -1.0
    else:
        own = fitted(head, params, learn, "none", spec).predict_proba(held.x)
        before = ece(held.facts, own)
        rows = rng.integers(0, len(held), (DRAWS, len(held)))
        worse = float(
            np.quantile([ece(held.facts.take(at), after[at]) - ece(held.facts.take(at), own[at]) for at in rows], 0.05)
        )
    with capsys.disabled():
        print(f"\n{name:8} {method:12} ECE {found:.4f} (95 % of honest ones: {bound:.4f}); its own {before:.4f}")
    assert found <= bound
    assert worse <= 0  # not significantly worse than before
