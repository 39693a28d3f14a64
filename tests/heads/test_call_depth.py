"""Number of functions of featx that are called between `featx.fit` and the `fit` of the estimator."""

import inspect
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

import featx
from featx.heads.head_definition import Head, HeadTask
from featx.parallel.threads import cores_limited_to
from featx.registry import HEADS

PACKAGE = Path(featx.__file__).parent
# Calls from `fit` to the fit of the final model, and to that of a trial's fold, which `run_side_by_side` runs.
MAX_FINAL_CALLS = 5
MAX_SEARCH_CALLS = 11


class Prior(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that predicts the shares of the classes, and records the functions that led to its fits."""

    chains: ClassVar[list[list[str]]] = []

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Self:
        names = [
            frame.function
            for frame in inspect.stack()
            if Path(frame.filename).is_relative_to(PACKAGE) and not frame.function.startswith("<")
        ]
        Prior.chains.append(names[: names.index("fit")])
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares_ = counts / len(y)
        return self

    def predict_proba(self, x: Any) -> Any:
        return np.tile(self.shares_, (len(x), 1))

    def predict(self, x: Any) -> Any:
        return self.classes_[self.predict_proba(x).argmax(1)]


def prior(task: HeadTask) -> Head:
    """Return a head without parameters."""
    return Head(suggest=lambda trial: {}, build=lambda params: Pipeline([("clf", Prior())]), start={})


@pytest.fixture
def prior_head(toy_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a head of `Prior` for one test, and return its name."""
    monkeypatch.setitem(HEADS._added, "prior", prior)
    featx.extract()
    return "prior"


def test_few_calls_lie_between_fit_and_the_estimator(prior_head: str) -> None:
    Prior.chains.clear()
    # With one core, folds run in the calling thread, so that the stack is complete.
    with cores_limited_to(1):
        featx.fit(heads=[prior_head], trials=1)
    final = [chain for chain in Prior.chains if "search" not in chain and "_cross_fit" not in chain]
    trials = [chain for chain in Prior.chains if "search" in chain]
    assert final
    assert trials
    assert max(map(len, final)) <= MAX_FINAL_CALLS, final
    assert max(map(len, trials)) <= MAX_SEARCH_CALLS, trials
