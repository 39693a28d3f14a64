"""Tuning and fitting of heads on a recipe's cached embeddings; each result is a run folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifacts.rescoring import update_val_scores
from featx.embeddings.near_copies import find_near_copies
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, FeatxError, OutOfTimeError
from featx.files.atomic import file_lock
from featx.heads.budget import Budget, ordered_by_cost
from featx.heads.head_run import run_search, write_run
from featx.heads.job import HeadJob
from featx.heads.parameter_checks import check_heads
from featx.heads.search.distributed_search import DistributedEvaluator
from featx.heads.search.journal import hold_journal, remove_journal
from featx.metrics.scores import resolve_metric
from featx.progress import ProgressCallback, no_progress
from featx.registry import HEADS
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.specs.validation import build_spec
from featx.study.run_folder import RunFolder
from featx.study.run_listing import current_labels
from featx.study.run_metrics import HeadMetrics, TreeScores
from featx.study.run_spec import HeadRunSpec
from featx.study.study import Study
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth


@dataclass(frozen=True)
class FitResult:
    """Result of fitting one head.

    Attributes
    ----------
    run
        Name of the run.
    head
        Name of the head.
    target
        Name of the target.
    path
        Path of the run folder.
    is_new
        Whether the run was made by this call; False if an equal run existed.
    n_trials
        Number of trials, including pruned ones.
    params
        The chosen setting.
    n_pruned
        Number of pruned trials, and of those whose score is not defined in a fold.
    space
        Range or choices of each parameter.
    importances
        Share of the score's variance that each parameter explains; empty if there were too few trials.
    calibration
        Method that converts outputs to probabilities.
    flags
        Warnings in one or two words.
    warnings
        Warnings in a sentence.
    embeddings
        Name of the embeddings that the head uses.
    metric
        Metric that the search maximised; losses and errors are negated.
    cv_score
        Mean of `metric` over the folds of the chosen setting; None without a search.
    nested_score
        Mean score of the whole search on outer folds that it did not use; None if it was not requested.
    score
        Name of the score that runs are compared by.
    oof_score
        Value of this score out of fold; None if the head was fitted once, on all train rows.
    val_score
        Value of this score on val; None without a val split.
    oof_accuracy
        Accuracy out of fold; None for numbers, or if the head was fitted once.
    val_accuracy
        Accuracy on val; None for numbers or without a val split.
    search_s
        Duration of the search in seconds.
    train_s
        Duration of the final fit and the predictions in seconds.
    trees
        Scores of boosted trees after each tree; None for other heads.
    refit_of
        Name of the run whose setting was fitted on more rows, and whose scores these are; None for other runs.
    label
        Short name of the run among the current runs of its target (`featx.study.run_settings`).
    """

    run: str
    head: str
    target: str
    path: str
    is_new: bool
    n_trials: int
    params: dict[str, Any]
    n_pruned: int
    space: dict[str, Any]
    importances: dict[str, float]
    calibration: str
    flags: list[str]
    warnings: list[str]
    embeddings: str
    metric: str
    cv_score: float | None
    nested_score: float | None
    score: str
    oof_score: float | None
    val_score: float | None
    oof_accuracy: float | None
    val_accuracy: float | None
    search_s: float
    train_s: float
    trees: TreeScores | None
    refit_of: str | None = None
    label: str = ""


def fit(  # noqa: PLR0913 - one keyword for each key of a recipe that a call may override
    recipe: str | Path | Recipe | None = None,
    *,
    heads: Sequence[str | HeadSpec] | str | HeadSpec = (),
    target: str | None = None,
    embedding: str | None = None,
    trials: int | None = None,
    timeout_s: float | None = None,
    nested: int | None = None,
    budget: Budget | str | None = None,
    force: bool = False,
    cluster: ClusterSpec | None = None,
    progress: ProgressCallback = no_progress,
) -> list[FitResult]:
    """Tune and fit heads on cached embeddings.

    Parameters
    ----------
    recipe
        The recipe, or its path.
    heads
        Names of heads, which get the recipe's settings, or specs; by default the recipe's heads.
    target
        Name of one of the recipe's targets; by default all of them.
    embedding
        Name of the extracted embeddings that heads use instead of the recipe's (`featx.specs.EmbeddingRequest`,
        ``is_called``); several are concatenated.
    trials
        Number of trials instead of the recipe's; 0 fits once without a search.
    timeout_s
        Seconds after which no trial is started, instead of the recipe's.
    nested
        Number of outer folds instead of the recipe's.
    budget
        Time for all heads together, such as ``10m``: cheap heads come first, each gets an equal share of the time that
        is left. Searches that it ends are marked; heads without time for a single setting are left out
        (`Budget.skipped`). By default there is no limit.
    force
        Whether to repeat runs that exist, by default False.
    cluster
        Dask workers that score trials; by default this process alone.
    progress
        Function that is called as the work advances.

    Raises
    ------
    ClusterError
        Workers do not answer, or cannot do the work.
    IncompleteError
        Nothing has been extracted yet.
    UnknownNameError
        No head has this name.
    DataError
        A class has too few rows, or the budget is no duration or given with `nested`.

    Notes
    -----
    Heads are fitted on train rows only. Val and test rows are predicted; val labels are used only to report a score of
    the finished model, test labels not at all.
    """
    heads = as_tuple(heads)
    for head in heads:
        HEADS.get(head if isinstance(head, str) else head.name)
    study = Study.open(recipe)
    overrides = {"trials": trials, "timeout_s": timeout_s, "nested": nested, "embeddings": embedding}
    changes = {name: value for name, value in overrides.items() if value is not None}
    specs = _head_specs(study.recipe, heads, target, changes)
    extracted_embeddings = tuple(locked_embeddings(study, embedding))
    find_near_copies(study, progress)
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    all_ids = np.concatenate(list(ids.values()))
    read_features = cache(lambda: read_embeddings(study, all_ids, extracted_embeddings))
    target_tables = {name: study.labels(name) for name in study.target_names(target)}
    check_heads(specs, {name: table.kind for name, table in target_tables.items()})
    jobs = [
        HeadJob(study, name, spec, extracted_embeddings, read_features, ids, target_tables[name])
        for name in target_tables
        for spec in specs
        if spec.target in {None, name}
    ]
    if specs and not jobs:
        raise DataError(f"no [[head]] is for target {target!r}; name a head with 'featx fit --head NAME'")
    # Equal sections, as presets can make them, are one run.
    distinct_jobs = list({job.run_spec().fingerprint(): job for job in jobs}.values())
    budget = Budget.parse(budget) if isinstance(budget, str) else budget
    with DistributedEvaluator(cluster) as evaluator:
        suited_jobs = _suited_jobs(distinct_jobs, progress)
        if budget is None:
            results = [_fit_job(job, force, evaluator, progress) for job in suited_jobs]
        else:
            results = _fit_within(budget, suited_jobs, force, evaluator, progress)
    labels = current_labels(study)
    return [replace(result, label=labels.get(result.run, result.run)) for result in results]


def _fit_within(
    budget: Budget, jobs: Sequence[HeadJob], force: bool, evaluator: DistributedEvaluator, progress: ProgressCallback
) -> list[FitResult]:
    """Return the results of the jobs that a budget has time for, the cheapest first.

    Raises
    ------
    DataError
        A job is scored by nested cross-validation, whose time is not limited.
    OutOfTimeError
        There was no time for any job.
    """
    if any(job.spec.nested for job in jobs):
        raise DataError("nested cross-validation cannot be limited by a budget; leave out one of them")
    results = []
    ordered_jobs = ordered_by_cost(jobs)
    for number, job in enumerate(ordered_jobs):
        is_done = not force and job.study.find_run(job.stem, job.run_spec()) is not None
        if budget.remaining_s <= 0 and not is_done:
            budget.skip(job, f"head {job.spec.name!r} was not started: no time was left")
            continue
        try:
            results.append(_fit_job(job, force, evaluator, progress, budget.deadline(len(ordered_jobs) - number)))
        except OutOfTimeError as error:
            # Trials that the deadline ended must not count in a later search.
            remove_journal(_journal(job))
            budget.skip(job, str(error))
    if not results:
        raise OutOfTimeError(f"the budget of {budget.seconds:g} s was too short for every head; set a larger one")
    return results


def _head_specs(
    recipe: Recipe, heads: Sequence[str | HeadSpec], target: str | None, overrides: dict[str, Any]
) -> list[HeadSpec]:
    """Return the specs of these heads, by default of all heads of the recipe, with overridden fields; one for a run."""
    spec_groups = [recipe.head_specs(head, target) if isinstance(head, str) else [head] for head in heads]
    specs = [spec for spec_group in spec_groups for spec in spec_group] or list(recipe.head)
    changed_specs = [build_spec(HeadSpec, f"head {spec.name}", **spec.model_dump() | overrides) for spec in specs]
    return [grid_spec for spec in changed_specs for grid_spec in spec.grid()]


def _suited_jobs(jobs: Sequence[HeadJob], progress: ProgressCallback) -> list[HeadJob]:
    """Leave out jobs whose head cannot learn one of several targets.

    Raises
    ------
    UnsuitedError
        A head can learn none of the targets.
    """
    errors = [(job, job.unsuited_error()) for job in jobs]
    suited_jobs = [job for job, error in errors if error is None]
    for job, error in errors:
        if error is not None:
            if not any(suited_job.spec == job.spec for suited_job in suited_jobs):
                raise error
            progress("note", 0, 1, f"{job.target}: {error}")
    return suited_jobs


def _fit_job(
    job: HeadJob,
    force: bool,
    evaluator: DistributedEvaluator,
    progress: ProgressCallback,
    deadline: float | None = None,
) -> FitResult:
    run_spec = job.run_spec()
    journal = _journal(job)
    progress = _named_progress(job, progress)
    if force:
        remove_journal(journal)
    with hold_journal(journal):
        completed_search = None
        if force or job.study.find_run(job.stem, run_spec) is None:
            with fit_errors_named(job.spec):
                completed_search = run_search(job, journal, evaluator, progress, deadline)
        # A process that waits for the lock finds the finished run.
        with file_lock(journal.with_suffix(".lock")):
            run = None if force else job.study.find_run(job.stem, run_spec)
            if is_new := run is None:
                assert completed_search is not None
                with job.study.new_run(job.stem, run_spec) as folder, fit_errors_named(job.spec):
                    write_run(job, completed_search, folder, progress)
    remove_journal(journal)
    run = RunFolder(job.study.run_path(job.stem, run_spec)) if run is None else update_val_scores(job.study, run)
    return fit_result(run, job.target_table, is_new)


def _named_progress(job: HeadJob, progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that states which run of a head is tuned or fitted."""

    def report(stage: str, n_done: int, total: int, /, note: str = "") -> None:
        verb, separator, name = stage.partition(" ")
        progress(f"{verb} {job.progress_name}" if separator and name == job.spec.name else stage, n_done, total, note)

    return report


def _journal(job: HeadJob) -> Path:
    """Return the path of the journal of a search.

    It is next to the run folder, so that an interrupted search continues and other processes may join it.
    """
    return job.study.folder / f".trials-{job.run_spec().fingerprint()}.journal"


@contextmanager
def fit_errors_named(spec: HeadSpec) -> Iterator[None]:
    """Name the head and its fixed parameters in an error of an estimator that cannot be fitted with them.

    Raises
    ------
    DataError
        The estimator refuses a combination of parameters, or these data with them, or finds no solution.
    """
    try:
        yield
    except FeatxError:
        raise
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"[[head]] {spec.name!r} cannot be fitted to these embeddings: {error}; leave it out, or fix another "
            "scaling, as params = { scaling = 'pca' }"
        ) from error
    except (ValueError, TypeError, NotImplementedError) as error:
        if not (spec.params or spec.space):
            raise
        settings = {name: value for name, value in (("params", spec.params), ("space", spec.space)) if value}
        reason = str(error).splitlines()[0]
        raise DataError(f"[[head]] {spec.name!r} cannot be fitted with {settings}: {reason}") from error


def fit_result(run: RunFolder, target_table: AnyTruth, is_new: bool) -> FitResult:
    """Return the result of a head's run for a table of its target values."""
    assert isinstance(run.spec, HeadRunSpec)
    assert isinstance(run.metrics, HeadMetrics)
    metrics, search = run.metrics, run.metrics.search
    val_scores, oof_scores = metrics.val or {}, metrics.oof or {}
    score = resolve_metric(TargetValues.of(target_table), None)
    return run.make_result(
        FitResult,
        search,
        is_new=is_new,
        label=run.name,
        refit_of=run.refit_of,
        head=run.spec.head_name,
        n_trials=len(search.trials) + search.n_pruned,
        calibration=metrics.calibration.method,
        cv_score=search.score,
        nested_score=None if metrics.nested is None else metrics.nested.mean,
        score=score,
        oof_score=oof_scores.get(score),
        val_score=val_scores.get(score),
        oof_accuracy=oof_scores.get("accuracy"),
        val_accuracy=val_scores.get("accuracy"),
        search_s=round(search.seconds, 2),
    )
