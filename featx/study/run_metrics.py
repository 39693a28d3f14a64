"""Measurements of runs: scores, durations and warnings (``metrics.json``)."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from featx.files.seals import write_sealed
from featx.specs.head import Metric
from featx.study.run_spec import ValState
from featx.study.run_warnings import RunWarning

METRICS = "metrics.json"
# Name of a score → its value, and ``n``, the number of rows; nan for undefined scores.
Scores = dict[str, int | float]


class Measurements(BaseModel):
    """Base class of the models of ``metrics.json`` and of their parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunMetrics(Measurements):
    """Measurements that every run has.

    Attributes
    ----------
    finished
        Time at which the run was finished, in ISO format.
    run_warnings
        Warnings about the run.
    oof
        Scores of the predictions for train rows out of fold; None for networks, for ensembles with a val split, and for
        heads that were fitted once.
    val
        Scores on val; None without a val split.
    train
        Scores on the rows that the run was trained on; None if they were not measured.
    """

    finished: str
    run_warnings: tuple[RunWarning, ...]
    oof: Scores | None
    val: Scores | None
    train: Scores | None = None

    @property
    def scores_by_part(self) -> dict[str, Scores]:
        """The scores on each part of which there are scores: ``oof`` and ``val``."""
        parts = {"oof": self.oof, "val": self.val}
        return {part: scores for part, scores in parts.items() if scores is not None}

    @property
    def elapsed_s(self) -> float | None:
        """Duration of the search and the training in seconds; None for ensembles."""
        return None

    @property
    def flags(self) -> list[str]:
        """The short texts of the warnings, each once."""
        return list(dict.fromkeys(warning.flag for warning in self.run_warnings))

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` into the folder of a run."""
        write_sealed(folder / METRICS, self.model_dump(mode="json"))


class ScoredTrial(Measurements):
    """A trial of a search that was not pruned.

    Attributes
    ----------
    number
        Number of the trial, from 0.
    score
        Mean score over the folds; greater is better.
    suggested
        Parameters as Optuna suggested them.
    fold_scores
        Score in each fold.
    params
        The complete setting.
    embeddings
        Name of the embeddings.
    path
        Value of the parameter that every trial tries in all its values → mean score.
    """

    number: int
    score: float
    suggested: dict[str, Any]
    fold_scores: list[float]
    params: dict[str, Any]
    embeddings: str
    path: dict[str, float]


class SearchResult(Measurements):
    """Result of a search, or the fixed setting of a head that was fitted without one.

    Attributes
    ----------
    params
        The chosen setting: that of the best trial, or the simplest one that is as good.
    suggested
        Parameters of its trial as Optuna suggested them.
    score
        Mean of its scores over the folds; greater is better. None without a search, or if it is not defined in a fold.
    embeddings
        Name of its embeddings.
    metric
        Metric that was maximised; losses and errors are negated.
    trials
        Trials that were not pruned, in order.
    n_pruned
        Number of pruned trials, and of those whose score is not defined in a fold.
    is_cut_short
        Whether a budget ended the search, or one of its trials; by default False.
    is_timed_out
        Whether ``timeout_s`` ended the search before all trials were finished; by default False.
    space
        Range or choices of each parameter.
    importances
        Share of the score's variance that each parameter explains; empty if there were too few trials.
    shared_bytes
        Most bytes that trials have shared.
    n_parallel_trials
        Number of trials in a batch, which run in parallel.
    seconds
        Duration of the search in seconds.
    """

    params: dict[str, Any]
    suggested: dict[str, Any]
    score: float | None
    embeddings: str
    metric: Metric
    trials: tuple[ScoredTrial, ...]
    n_pruned: int
    space: dict[str, Any]
    importances: dict[str, float]
    shared_bytes: int
    n_parallel_trials: int
    seconds: float
    is_cut_short: bool = False
    is_timed_out: bool = False


class NestedScores(Measurements):
    """Scores of a whole search on outer folds that it did not use, with their mean and standard deviation."""

    folds: list[float]
    mean: float
    sd: float


class CalibrationMetrics(Measurements):
    """Method of calibration, and cross-fitted log loss in nats of each method that was tried."""

    method: str
    log_losses: dict[str, float]


class TreeScores(Measurements):
    """Scores of boosted trees after each tree: lists with one value for each number of trees, from 1.

    Attributes
    ----------
    loss, score
        Names of the loss and of the score: ``log_loss`` and ``accuracy``, or ``rmse`` and ``mae`` of numbers.
    train_loss, train_score
        Values on the train rows, which the trees were grown on.
    val_loss, val_score
        Values on the val rows; empty without a val part, or after its labels were changed.
    max_trees
        Number of trees at which growing would have ended without early stopping; None if it was not requested.
    """

    loss: Metric
    score: Metric
    train_loss: list[float]
    train_score: list[float]
    val_loss: list[float]
    val_score: list[float]
    max_trees: int | None


class HeadMetrics(RunMetrics):
    """Measurements of a head.

    Attributes
    ----------
    val_state
        State of the val rows that the scores on val were computed from.
    search
        Result of the search.
    nested
        Result of nested cross-validation; None if it was not requested.
    calibration
        Calibration of the outputs.
    train_s
        Duration of the final fit and the predictions in seconds.
    prediction_s
        Duration of the prediction for one embedding in seconds; None if it could not be measured.
    trees
        Scores after each tree; None for heads other than boosted trees, and out of core.
    embedding_gains
        Name of each of several joined embeddings → its share of the gain of all boosted trees; empty for one embedding
        and for heads other than boosted trees.
    """

    val_state: ValState
    search: SearchResult
    nested: NestedScores | None
    calibration: CalibrationMetrics
    train_s: float
    prediction_s: float | None
    trees: TreeScores | None = None
    embedding_gains: dict[str, float] = Field(default_factory=dict)

    @property
    def elapsed_s(self) -> float:
        """Duration of the search and the training in seconds."""
        return round(self.search.seconds, 2) + self.train_s


class EpochMetrics(Measurements):
    """Measurements of one epoch of a training; losses that are not finite are None.

    Attributes
    ----------
    number
        Number of the epoch, from 1 over all phases; 0 is the network before training.
    phase
        Number of the phase, from 1.
    lr
        Learning rate of the new layers in the last step.
    train_loss, held_loss, val_loss
        Mean loss of the rows that are trained on, of the rows held out of train, and of the val rows; None where a part
        has no rows or was not measured.
    train_scores, held_scores, val_scores
        Name of each score → its value on these rows; empty where there is none.
    seconds
        Duration of the epoch in seconds, measurements included.
    """

    number: int
    phase: int
    lr: float
    train_loss: float | None = None
    train_scores: dict[str, float | None] = Field(default_factory=dict)
    held_loss: float | None = None
    held_scores: dict[str, float | None] = Field(default_factory=dict)
    val_loss: float | None = None
    val_scores: dict[str, float | None] = Field(default_factory=dict)
    seconds: float


class NetworkMetrics(RunMetrics):
    """Measurements of a fine-tuned network.

    Attributes
    ----------
    val_state
        State of the val rows that the scores on val were computed from.
    epochs
        All epochs in order, the network before training included.
    best_epoch
        Number of the epoch whose weights were kept; 0 for those before training.
    monitor
        Rows that chose this epoch: ``holdout``, ``val``, or ``none``, where the last weights were kept.
    chosen_by
        ``loss``, or the name of the score that chose the epoch.
    score
        Name of the score in tables and curves: ``accuracy``, or ``mae`` of numbers.
    train
        Scores of the kept weights on the rows that were trained on.
    epoch_s
        Mean duration of an epoch in seconds; None without an epoch.
    notes
        Decisions that were made during the run.
    train_s
        Duration of the whole run in seconds.
    images_per_s
        Images per second of the whole network; None if it could not be measured.
    """

    val_state: ValState
    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    monitor: Literal["holdout", "val", "none"]
    chosen_by: str
    score: str
    train: Scores
    epoch_s: float | None
    notes: list[str]
    train_s: float
    images_per_s: float | None

    @property
    def elapsed_s(self) -> float:
        """Duration of the training in seconds."""
        return self.train_s
