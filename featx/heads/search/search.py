"""Choose a head's setting by cross-validation inside the train rows."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from featx.artifacts.outputs import predict_outputs
from featx.heads.builtin import Head
from featx.heads.fitting import decisions, early_stops_allowed, fitted
from featx.heads.folds import TrainRows
from featx.heads.scaling import Params
from featx.heads.search import regularisation_paths
from featx.heads.search.diagnostics import at_edges, searched
from featx.heads.search.fold_cache import FoldCache, SharedArrays
from featx.heads.search.journal import TrialJournal
from featx.metrics.scores import NEEDS_PROBABILITIES, chosen_metric, merit
from featx.parallel.threads import run_side_by_side, single_threaded
from featx.progress import ProgressCallback
from featx.specs.head import HeadSpec, Metric
from featx.study.run_warnings import RunWarning
from featx.tables.decision_rule import without_weights

EMBEDDINGS = "embeddings"  # the name of their choice
AT_ONCE = 2  # folds that run beside each other, and after which a hopeless trial ends; fixed, so that results are too
UNDEFINED = -1e9  # the score of answers that have none, such as the correlation of a constant
MUCH = 0.25e9  # bytes of which is spoken beforehand
NEAR = 2  # values of a path on each side of the best of the first folds that the other folds try


@dataclass(frozen=True)
class TrialRequest:
    """A trial that somebody else is to score.

    Attributes
    ----------
    embeddings, suggested
        Which, and the setting as Optuna was asked for it.
    before
        The trials that it is compared with, to be ended early.
    """

    embeddings: str
    suggested: Params
    before: list[FrozenTrial]


@dataclass(frozen=True)
class TrialResult:
    """What came of it: score and attributes of a trial, or None; and its interim scores by step."""

    score: float | None
    steps: dict[int, float]
    attributes: dict[str, Any]


class TrialEvaluator(Protocol):
    """Whoever scores trials beside this process; see `featx.heads.search.distributed_search`."""

    @property
    def size(self) -> int:
        """TrialJournal at once."""

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody but this process."""

    def scores(
        self, arenas: "Mapping[str, SearchSpace]", spec: HeadSpec, shared_bytes: float, batch: Sequence[TrialRequest]
    ) -> list[TrialResult]:
        """Return what came of some trials, in their order."""


class TrialRecorder(Protocol):
    """Where a trial is written down; see `featx.heads.search.journal`."""

    def known(self, asked: list[Any]) -> dict[str, Any] | None:
        """Return what came of an equal setting before."""

    def finish(self, trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Write what came of a trial."""

    def prune(self, trial: optuna.Trial) -> None:
        """Write that a trial was ended early."""

    def is_behind(self, trial: optuna.Trial, score: float, n_folds: int) -> bool:
        """Whether a trial should be, by its score over the first folds."""

    def unusable(self, why: str) -> Exception:
        """Return what to raise for another space."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes
    ----------
    shared_bytes
        Most that what trials share may take.
    starts
        Settings to try after the head's own, as Optuna was asked for them.
    helpers
        Who score trials; this process by default.
    """

    shared_bytes: float = 2e9
    starts: tuple[Params, ...] = ()
    helpers: TrialEvaluator | None = None


PLAIN = SearchOptions()


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    params
        Of the chosen setting: of the best trial, or the simplest one that is as good.
    score
        Its mean over the folds; greater is better.
    embeddings
        The name of those that it is for.
    metric
        What was maximised.
    trials
        Number, params, score and fold scores of every trial that was not ended early, in order.
    n_pruned
        Trials that were.
    space, importances, findings
        What was searched, what mattered, and what should be looked at (`featx.heads.search.diagnostics`).
    shared_bytes
        Most that was kept for other trials at once.
    at_once
        Trials that ran beside each other.
    seconds
        Of the search.
    """

    params: Params
    score: float
    embeddings: str
    metric: Metric
    trials: list[dict[str, Any]]
    n_pruned: int
    space: dict[str, Any]
    importances: dict[str, float]
    findings: list[RunWarning]
    shared_bytes: int
    at_once: int
    seconds: float


@dataclass(frozen=True)
class SearchSpace:
    """What settings may be tried on.

    Attributes
    ----------
    head
        For the shape of these rows.
    """

    head: Head
    rows: TrainRows


@single_threaded()
def search(
    arenas: Mapping[str, SearchSpace],
    spec: HeadSpec,
    journal: Path,
    progress: ProgressCallback,
    options: SearchOptions = PLAIN,
) -> SearchResult:
    """Try `spec.trials` settings (fewer where the time is out) and return the best.

    Parameters
    ----------
    arenas
        Name of embeddings → the same train rows with them; where there are several, which is part of the search.
    journal
        The file that Optuna writes every trial to; trials of an interrupted search that stand in it count, and other
        processes may be working on them.

    Notes
    -----
    The first trial is the head's `start`, the next few are random, the others are proposed by TPE. A trial that after
    two folds is below the median of the others, or surely below the best, is ended (`journal.is_behind`). With helpers,
    trials run in batches: each is proposed, and may be ended, by what came of those before its batch.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it logs Ctrl-C as a failed trial, traceback and all
    start = time.perf_counter()
    shared = SharedArrays(options.shared_bytes)
    contests = {name: CrossValidation(name, arena, spec, shared) for name, arena in arenas.items()}
    first = next(iter(contests.values()))
    for note in dict.fromkeys(contest.note for contest in contests.values() if contest.note):
        progress("note", 0, 1, f"{spec.name}: {note}")
    choices = {} if len(arenas) == 1 else {EMBEDDINGS: list(arenas)}
    starts = [dict(first.head.start) | {name: of[0] for name, of in choices.items()}, *options.starts]
    at_once = options.helpers.size if options.helpers else 1
    with TrialJournal(journal, spec, starts) as trials:
        progress(f"tune {spec.name}", trials.n_done, spec.trials)
        while not trials.n_done or spec.timeout_s is None or time.perf_counter() - start < spec.timeout_s:
            batch = trials.batch(at_once)
            if not batch:
                break
            names = [trial.suggest_categorical(EMBEDDINGS, list(arenas)) if choices else first.name for trial in batch]
            pairs = list(zip(batch, names, strict=True))
            for trial in _run(pairs, contests, trials, (arenas, spec, options)):
                progress(f"tune {spec.name}", trials.n_done, spec.trials, trials.news(trial.number, first.metric))
        finished, n_pruned, mattered = trials.finished, trials.n_pruned, trials.importances()
    table = [
        {"number": one.number, "score": one.value, "suggested": one.params}
        | {name: one.user_attrs[name] for name in ("fold_scores", "params", "embeddings", "path")}
        for one in finished
    ]
    winner, params, score = _chosen(table, contests, spec.rule)
    space = searched(finished, first.path.name, first.path.values)
    return SearchResult(
        params=params,
        score=score,
        embeddings=winner["embeddings"],
        metric=first.metric,
        trials=table,
        n_pruned=n_pruned,
        space=space,
        importances=mattered,
        findings=at_edges(space, winner["suggested"], params),
        shared_bytes=shared.most,
        at_once=at_once,
        seconds=time.perf_counter() - start,
    )


def _run(
    batch: Sequence[tuple[optuna.Trial, str]],
    contests: "Mapping[str, CrossValidation]",
    trials: TrialJournal,
    how: tuple[Mapping[str, SearchSpace], HeadSpec, SearchOptions],
) -> Iterator[optuna.Trial]:
    """Give the trials of a batch their scores, and yield each when it is written down."""
    arenas, spec, options = how
    if options.helpers is None or options.helpers.is_alone:
        for trial, name in batch:
            contests[name].run(trial, trials)
            yield trial
        return
    before, asked = trials.finished, []
    for trial, name in batch:
        known = trials.known([name, contests[name].asked(trial, trials)])
        asked.append(TrialRequest(name, trial.params, before) if known is None else known)
    found = options.helpers.scores(
        arenas, spec, options.shared_bytes, [one for one in asked if isinstance(one, TrialRequest)]
    )
    told = iter(found)
    for (trial, _), one in zip(batch, asked, strict=True):
        _write(trial, next(told) if isinstance(one, TrialRequest) else TrialResult(one.pop("score"), {}, one), trials)
        yield trial


def _write(trial: optuna.Trial, told: TrialResult, trials: TrialJournal) -> None:
    for step, value in told.steps.items():
        trial.report(value, step)
    if told.score is None:
        trials.prune(trial)
    else:
        trials.finish(trial, told.score, told.attributes)


def _chosen(
    table: Sequence[dict[str, Any]], contests: "Mapping[str, CrossValidation]", rule: str
) -> tuple[dict[str, Any], Params, float]:
    """Return the trial that a rule chooses, its setting and its score."""
    best = max(table, key=lambda trial: (trial["score"], -trial["number"]))
    complexity = contests[best["embeddings"]].head.complexity
    if rule == "best" or complexity is None:
        return best, best["params"], best["score"]
    error = float(np.std(best["fold_scores"], ddof=1) / np.sqrt(len(best["fold_scores"])))
    alike = [
        (complexity(params), -score, params, trial)
        for trial in table
        for params, score in contests[trial["embeddings"]].settings(trial)
        if score >= best["score"] - error
        and trial["embeddings"] == best["embeddings"]
        and all(params.get(name) == best["params"].get(name) for name in ("scaling", "kernel"))
    ]
    _, minus, params, trial = min(alike, key=lambda one: one[:2])
    return trial, params, -minus


def _about_memory(needed: float, limit: float) -> str:
    """Say what the matrices of the folds that run at once take, where it is much."""
    if needed > limit:
        return (
            f"{AT_ONCE} folds' matrices would take {needed / 1e9:.1f} GB of the {limit / 1e9:.1f} GB that trials may "
            "share (extraction.search_gb); each is fitted on its own instead"
        )
    if needed > MUCH:
        return (
            f"{AT_ONCE} folds' matrices take {needed / 1e9:.1f} GB; trials keep at most {limit / 1e9:.1f} GB for each "
            "other (extraction.search_gb)"
        )
    return ""


class CrossValidation:
    """The folds in which settings meet.

    Parameters
    ----------
    name
        Of the embeddings.
    shared
        Where what trials share is kept.
    """

    def __init__(self, name: str, arena: SearchSpace, spec: HeadSpec, shared: SharedArrays) -> None:
        head, rows = arena.head, arena.rows
        metric = chosen_metric(rows.facts, spec.metric)
        self.name, self.head, self.spec, self.metric = name, head, spec, metric
        folds = rows.folds(spec.folds, spec.seed)
        self.folds = [FoldCache((name, number), rows, fold, shared) for number, fold in enumerate(folds)]
        n_held = len(rows) // spec.folds
        needed = 0 if head.path is None else AT_ONCE * head.path.needs(len(rows) - n_held, n_held)
        self.note = _about_memory(needed, shared.limit)
        by_refitting = needed > shared.limit or (head.calibrated and metric in NEEDS_PROBABILITIES)
        values = (None,) if head.path is None else head.path.values
        name = "" if head.path is None else head.path.name
        fitting_anew = regularisation_paths.Path(name, values, self._refit, patience=regularisation_paths.SOON)
        self.path = fitting_anew if head.path is None or by_refitting else head.path

    def asked(self, trial: optuna.Trial, trials: TrialRecorder) -> Params:
        """Return the setting that a trial is for."""
        try:
            return self.head.space(trial)
        except ValueError as error:  # Optuna's, where a parameter had other choices before
            raise trials.unusable(str(error)) from error

    def run(self, trial: optuna.Trial, trials: TrialRecorder) -> None:
        """Give a trial its score, or end it."""
        params = self.asked(trial, trials)
        if (known := trials.known([self.name, params])) is not None:
            trials.finish(trial, known.pop("score"), known)
            return
        found = np.full((len(self.folds), len(self.path.values)), np.nan)
        first, rest = np.split(np.arange(len(self.folds)), [AT_ONCE])
        found[first] = self._scores(params, first, np.arange(len(self.path.values)), self.path.patience)
        if len(rest):
            score = float(np.nanmax(found[first].mean(0)))
            trial.report(score, 0)
            if trials.is_behind(trial, score, len(first)):
                trials.prune(trial)
                return
            columns = self._promising(found[first])
            found[np.ix_(rest, columns)] = self._scores(params, rest, columns, None)
        means = found.mean(0)  # nan where some folds have not tried a value
        at = int(np.nanargmax(means))
        chosen = params | ({self.path.name: self.path.values[at]} if self.path.name else {})
        along = {str(value): float(mean) for value, mean in zip(self.path.values, means, strict=True) if mean == mean}
        came = {"params": chosen, "asked": [self.name, params], "fold_scores": found[:, at].tolist()}
        came |= {"embeddings": self.name, "path": along}
        trials.finish(trial, float(means[at]), came)

    def settings(self, trial: Mapping[str, Any]) -> Iterator[tuple[Params, float]]:
        """Yield all settings that a trial has scored in all folds, with their means."""
        for value in self.path.values:
            if (score := trial["path"].get(str(value))) is not None:
                yield trial["params"] | ({self.path.name: value} if self.path.name else {}), score

    def _promising(self, found: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return which values of the path to try, given the scores in the folds before."""
        every = np.arange(found.shape[1])
        if self.path.patience is None:
            return every
        best = int(np.nanargmax(found.mean(0)))
        is_near = abs(every - best) <= NEAR
        if self.path.cumulative:
            is_near |= every < best
        return every[is_near & np.isfinite(found).all(0)]

    def _scores(
        self, params: Params, folds: NDArray[np.intp], columns: NDArray[np.intp], patience: int | None
    ) -> NDArray[np.float64]:
        """Return (folds, columns) scores; nan for values that a fold has not tried, as `patience` was at its end."""
        values = [self.path.values[at] for at in columns]

        def of_fold(number: int) -> list[float]:
            work = self.folds[number]
            scores: list[float] = []
            for found in self.path.along(params, work, values):
                scores.append(float(np.nan_to_num(self._merit(work, found), nan=UNDEFINED)))
                if patience is not None and max(scores) not in scores[-patience - 1 :]:
                    break
            return scores + [np.nan] * (len(values) - len(scores))

        with early_stops_allowed():
            at_once = AT_ONCE if self.head.one_thread else 1
            return np.array(list(run_side_by_side(of_fold, folds.tolist(), at_once=at_once)))

    def _merit(self, work: FoldCache, found: NDArray[np.float64]) -> float:
        """Return the score of answers for held-out rows; of probabilities, without the class weights of training."""
        weights = work.learn.class_weights
        if self.metric in NEEDS_PROBABILITIES and weights is not None:
            found = without_weights(found, weights)
        return merit(self.metric, work.held.facts, found)

    def _refit(self, params: Params, work: FoldCache, values: Sequence[Any]) -> Iterator[NDArray[np.float64]]:
        """Yield the answers of whole Pipelines, each fitted anew."""
        by_probability = self.metric in NEEDS_PROBABILITIES
        method = self.head.usual_calibration if by_probability else "none"
        for value in values:
            setting = params | ({self.path.name: value} if self.path.name else {})
            model = fitted(self.head, setting, work.learn, method, self.spec)
            kind = work.held.facts.kind
            yield predict_outputs(model, work.held.x, kind) if by_probability else decisions(model, work.held)
