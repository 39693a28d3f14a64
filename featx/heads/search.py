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
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight

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
    """

    x: NDArray[np.float32]
    codes: NDArray[np.int64]
    weights: NDArray[np.float64]

    def take(self, at: NDArray[np.intp]) -> "TrainRows":
        """Return some of the rows."""
        return TrainRows(self.x[at], self.codes[at], self.weights[at])


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


def class_weights(spec: HeadSpec, codes: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.float64]:
    """Return one weight a row, mean 1.

    Raises
    ------
    DataError
        a class is weighted that does not exist.
    """
    if spec.class_weight == "none":
        return np.ones(len(codes))
    if spec.class_weight == "balanced":
        weights = compute_sample_weight("balanced", codes)
    else:
        if unknown := sorted(set(spec.class_weight) - set(classes)):
            raise DataError(f"head {spec.name!r}: class_weight names {unknown[0]!r}; classes: {', '.join(classes)}")
        of_class = np.array([spec.class_weight.get(name, 1.0) for name in classes])
        weights = of_class[codes]
    return np.asarray(weights / weights.mean())


def check_counts(codes: NDArray[np.int64], spec: HeadSpec, classes: Sequence[str]) -> None:
    """Check that every class is in every fold.

    Raises
    ------
    DataError
        a class has fewer rows than there are folds.
    """
    counts = np.bincount(codes, minlength=len(classes))
    if counts.min() < max(spec.folds, 3):
        raise DataError(
            f"class {classes[int(counts.argmin())]!r} has {counts.min()} train rows, {spec.folds} folds need at least "
            f"{max(spec.folds, 3)} of each; add images, drop the class, or say 'folds = …' in [[head]]"
        )


def stratified_folds(codes: NDArray[np.int64], spec: HeadSpec) -> list[Fold]:
    """Return (train, held-out) row numbers of each fold."""
    folds = StratifiedKFold(spec.folds, shuffle=True, random_state=spec.seed)
    return list(folds.split(np.zeros(len(codes)), codes))


def fitted(head: Head, params: Params, rows: TrainRows, *, probabilities: bool, seed: int) -> Pipeline:
    """Fit one setting on `rows`; with `probabilities`, calibrated where the head needs it."""
    pipeline = head.build(params)
    if probabilities and head.calibrated:
        folds = min(CALIBRATION_FOLDS, int(np.bincount(rows.codes).min()))
        splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
        name, clf = pipeline.steps[-1]
        pipeline.steps[-1] = (name, CalibratedClassifierCV(clf, ensemble=False, cv=splits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out scores judge an early stop better
        return pipeline.fit(rows.x, rows.codes, clf__sample_weight=rows.weights)


def search(head: Head, spec: HeadSpec, rows: TrainRows, journal: Path, watch: Watch) -> SearchResult:
    """Try `spec.trials` settings (fewer where the time is out) and return the best.

    Parameters
    ----------
    journal
        The file that Optuna writes every trial to.

    Notes
    -----
    The first trial is the head's `start`; the others are proposed by TPE. Time O(trials × folds × one fit).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = time.perf_counter()
    folds = stratified_folds(rows.codes, spec)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=spec.name,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=spec.seed),
    )
    study.enqueue_trial(dict(head.start))

    def objective(trial: optuna.Trial) -> float:
        params = head.space(trial)
        scores = [_fold_score(head, params, rows, fold, spec) for fold in folds]
        trial.set_user_attr("params", params)
        trial.set_user_attr("fold_scores", scores)
        return float(np.mean(scores))

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        watch(f"tune {spec.name}", trial.number + 1, spec.trials, f"best {spec.metric} {abs(study.best_value):.4f}")

    watch(f"tune {spec.name}", 0, spec.trials)
    study.optimize(objective, n_trials=spec.trials, timeout=spec.timeout_s, callbacks=[tell])
    trials = [
        {
            "number": t.number,
            "score": t.value,
            "fold_scores": t.user_attrs["fold_scores"],
            "params": t.user_attrs["params"],
        }
        for t in study.trials
    ]
    best = study.best_trial
    return SearchResult(best.user_attrs["params"], study.best_value, trials, time.perf_counter() - start)


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
    for number, (train, held_out) in enumerate(stratified_folds(rows.codes, spec)):
        model = fitted(head, params, rows.take(train), probabilities=True, seed=spec.seed)
        proba[held_out] = model.predict_proba(rows.x[held_out])
        fold_of[held_out] = number
    return proba, fold_of
