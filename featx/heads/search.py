"""Choose a head's setting by cross-validation inside the train rows, and answer for rows that it did not see."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from featx.errors import DataError
from featx.heads.models import Head, Params
from featx.metrics import GREATER_IS_BETTER
from featx.progress import Watch
from featx.specs import HeadSpec

CALIBRATION_FOLDS = 5
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class TrainRows:
    """What a head learns from.

    Attributes
    ----------
    x
        (n, d).
    codes
        (n,) in 0 … k-1, each class at least once in every fold's train rows.
    weights
        (n,) positive.
    groups
        (n,) rows of one group stay on one side of every fold; None where there are no groups.
    """

    x: NDArray[np.float32]
    codes: NDArray[np.int64]
    weights: NDArray[np.float64]
    groups: NDArray[Any] | None = None

    def take(self, at: NDArray[np.intp]) -> "TrainRows":
        """Return some of the rows."""
        groups = None if self.groups is None else self.groups[at]
        return TrainRows(self.x[at], self.codes[at], self.weights[at], groups)

    def folds(self, n_folds: int, seed: int) -> list[Fold]:
        """Return (train, held-out) row numbers of each fold: stratified, groups whole."""
        kind = StratifiedKFold if self.groups is None else StratifiedGroupKFold
        split = kind(n_folds, shuffle=True, random_state=seed).split(self.x[:, :1], self.codes, self.groups)
        return list(split)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    params
        Of the best trial.
    score
        Its mean over the folds; greater is better.
    trials
        Number, params, score and fold scores of every trial, in order.
    seconds
        Of the search.
    """

    params: Params
    score: float
    trials: list[dict[str, Any]]
    seconds: float


def check_folds(rows: TrainRows, spec: HeadSpec, classes: Sequence[str]) -> None:
    """Check that the rows can be folded: every class is learnt in every fold, twice for calibration's own folds.

    Raises
    ------
    DataError
        a class has too few rows, or there are fewer groups than folds.
    """
    counts = np.bincount(rows.codes, minlength=len(classes))
    rarest = int(counts.argmin())
    least = spec.folds if spec.folds > 2 else 4  # what is left of it for learning in each fold is two rows or more
    if counts[rarest] < least:
        raise DataError(
            f"class {classes[rarest]!r} has {counts[rarest]} train rows, {spec.folds} folds need at least {least} of "
            "each; add images, drop the class, or say 'folds = …' in [[head]]"
        )
    if rows.groups is None:
        return
    n_groups = len(np.unique(rows.groups))
    if n_groups < spec.folds:
        raise DataError(
            f"split.by leaves {n_groups} groups in train, {spec.folds} folds need one each; say 'folds = …'"
        )
    for train, _ in rows.folds(spec.folds, spec.seed):
        if (lost := np.bincount(rows.codes[train], minlength=len(classes)) < 2).any():
            raise DataError(
                f"class {classes[int(lost.argmax())]!r} stands in too few groups: a fold would learn without it; "
                "add groups with it, or drop the class"
            )


def fitted(head: Head, params: Params, rows: TrainRows, *, probabilities: bool, seed: int) -> Pipeline:
    """Fit one setting on `rows`; with `probabilities`, calibrated where the head needs it."""
    pipeline = head.build(params)
    if probabilities and head.calibrated:
        splits = _calibration_folds(rows, seed)
        name, clf = pipeline.steps[-1]
        pipeline.steps[-1] = (name, CalibratedClassifierCV(clf, ensemble=False, cv=splits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out scores judge an early stop better
        return pipeline.fit(rows.x, rows.codes, clf__sample_weight=rows.weights)


def _calibration_folds(rows: TrainRows, seed: int) -> Any:
    """Return folds for calibration, as many as the rarest class and the groups allow."""
    n_folds = min(CALIBRATION_FOLDS, int(np.bincount(rows.codes).min()))
    if rows.groups is None:
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return rows.folds(min(n_folds, len(np.unique(rows.groups))), seed)


def search(head: Head, spec: HeadSpec, rows: TrainRows, journal: Path, watch: Watch) -> SearchResult:
    """Try `spec.trials` settings (fewer where the time is out) and return the best.

    Parameters
    ----------
    journal
        The file that Optuna writes every trial to; trials of an interrupted search that stand in it count.

    Notes
    -----
    The first trial is the head's `start`, the next few are random, the others are proposed by TPE. Time
    O(trials × folds × one fit).
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it logs Ctrl-C as a failed trial, traceback and all
    start = time.perf_counter()
    folds = rows.folds(spec.folds, spec.seed)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=spec.name,
        direction="maximize",
        load_if_exists=True,
    )
    n_before = len(study.trials)
    # a new seed for the rest of an interrupted search: the old one would propose the same settings again
    study.sampler = optuna.samplers.TPESampler(seed=spec.seed + n_before, n_startup_trials=max(3, spec.trials // 3))
    if not n_before:
        study.enqueue_trial(dict(head.start))

    def objective(trial: optuna.Trial) -> float:
        params = head.space(trial)
        scores = [_fold_score(head, params, rows, fold, spec) for fold in folds]
        trial.set_user_attr("params", params)
        trial.set_user_attr("fold_scores", scores)
        return float(np.mean(scores))

    def tell(study: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
        note = f"best {spec.metric} {abs(study.best_value):.4f}"
        watch(f"tune {spec.name}", len(_finished(study)), spec.trials, note)

    n_left = spec.trials - len(_finished(study))
    watch(f"tune {spec.name}", spec.trials - n_left, spec.trials)
    if n_left > 0:
        study.optimize(objective, n_trials=n_left, timeout=spec.timeout_s, callbacks=[tell])
    trials = [
        {
            "number": t.number,
            "score": t.value,
            "fold_scores": t.user_attrs["fold_scores"],
            "params": t.user_attrs["params"],
        }
        for t in _finished(study)
    ]
    best = study.best_trial
    return SearchResult(best.user_attrs["params"], study.best_value, trials, time.perf_counter() - start)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])


def _fold_score(head: Head, params: Params, rows: TrainRows, fold: Fold, spec: HeadSpec) -> float:
    train, held_out = fold
    by_probability = spec.metric == "log_loss"  # the other metrics ask for classes only: no calibration needed
    model = fitted(head, params, rows.take(train), probabilities=by_probability, seed=spec.seed)
    x, codes = rows.x[held_out], rows.codes[held_out]
    one_hot = np.eye(int(rows.codes.max()) + 1)
    return GREATER_IS_BETTER[spec.metric](
        codes, model.predict_proba(x) if by_probability else one_hot[model.predict(x)]
    )


def out_of_fold(
    head: Head, params: Params, rows: TrainRows, spec: HeadSpec
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (n, k) probabilities of every train row by a model that did not see it, and the fold of each row."""
    proba = np.empty((len(rows.codes), int(rows.codes.max()) + 1))
    fold_of = np.empty(len(rows.codes), dtype=np.int64)
    for number, (train, held_out) in enumerate(rows.folds(spec.folds, spec.seed)):
        model = fitted(head, params, rows.take(train), probabilities=True, seed=spec.seed)
        proba[held_out] = model.predict_proba(rows.x[held_out])
        fold_of[held_out] = number
    return proba, fold_of
