"""Making of one head's run: search, final fit, predictions, scores and files."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifacts.artifact import write_head
from featx.artifacts.header import provenance
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import score_val
from featx.embeddings.throughput import steady_rate
from featx.files.atomic import write_table
from featx.heads.boosting_curves import embedding_gains, score_trees, stop_early
from featx.heads.fitting import OutOfFold, fit_once, fit_out_of_fold
from featx.heads.folds import TrainRows, check_folds, count_smallest_fold_rows
from featx.heads.head_settings import EARLY_STOPPING
from featx.heads.job import EmbeddingChoice, HeadJob
from featx.heads.learning_problems import PROBLEMS
from featx.heads.out_of_core.fit_out_of_core import fit_stored_rows, predict_in_blocks
from featx.heads.scaling import Params
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.diagnostics import boundary_warnings, fold_size_warnings
from featx.heads.search.distributed_search import DistributedEvaluator
from featx.heads.search.search import SearchOptions, search
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import align, scores, signed_score
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.head import HeadSpec
from featx.study.run_metrics import CalibrationMetrics, HeadMetrics, NestedScores, SearchResult
from featx.study.run_spec import HeadRunSpec
from featx.study.run_warnings import RunWarning
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions, concatenate_predictions, predictions_of_part
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth

# Images in one measurement of the speed of prediction: fewer if their vectors hold more numbers than this in all.
N_TIMED_IMAGES = 256
MIN_TIMED_IMAGES = 16
MAX_TIMED_NUMBERS = 1_000_000
# Rows whose outputs are stored with the model, to check it when it is loaded.
N_GOLDEN_ROWS = 5


@dataclass(frozen=True)
class CompletedSearch:
    """A finished search and its inputs.

    Attributes
    ----------
    space
        Head and train rows with the chosen embeddings.
    embeddings
        The chosen embeddings.
    result
        Result of the search.
    journal
        Path of the journal of its trials.
    nested
        Scores of the whole search on outer folds that it did not use; None if they were not requested.
    """

    space: SearchSpace
    embeddings: EmbeddingChoice
    result: SearchResult
    journal: Path
    nested: NestedScores | None


def run_search(
    job: HeadJob,
    journal: Path,
    evaluator: DistributedEvaluator,
    progress: ProgressCallback,
    deadline: float | None = None,
) -> CompletedSearch:
    """Search the setting of a head, and score the whole search on outer folds if its spec requests it."""
    spec = job.searched_spec
    if job.needs_folds:
        check_folds(job.searched_rows, spec, calibrates_trials=job.calibrates_trials)
    spaces = job.search_spaces()
    starts = _previous_setting(job) if spec.warm_start else ()
    options = SearchOptions(job.study.recipe.extraction.search_gb * 1e9, starts, evaluator, deadline)
    result = _with_early_stopping(search(spaces, spec, journal, progress, options), spaces, spec)
    # The nested search must not start from earlier settings, because these were chosen on all rows.
    nested = _nested_scores(job, spaces, replace(options, starts=()), progress) if spec.nested else None
    embeddings = job.embedding_choices[result.embeddings]
    return CompletedSearch(spaces[result.embeddings], embeddings, result, journal, nested)


def _with_early_stopping(result: SearchResult, spaces: Mapping[str, SearchSpace], spec: HeadSpec) -> SearchResult:
    """Return the result of a search with the number of trees at which early stopping ends, if it is requested."""
    if EARLY_STOPPING not in spec.params:
        return result
    space = spaces[result.embeddings]
    return result.model_copy(update={"params": stop_early(space.head, result.params, space.rows, spec)})


def _previous_setting(job: HeadJob) -> tuple[Params, ...]:
    """Return the setting chosen by the last finished search for this head and target, as Optuna suggested it."""
    runs = job.study.comparable_runs(job.target)
    specs_and_metrics = [(run.spec, run.metrics) for run in runs if run.kind == "head"]
    searches = [
        metrics.search
        for spec, metrics in specs_and_metrics
        if isinstance(spec, HeadRunSpec) and isinstance(metrics, HeadMetrics) and spec.head_name == job.spec.name
    ]
    # Runs without a search have no trials.
    return tuple(search.suggested for search in searches if search.trials)[-1:]


def _nested_scores(
    job: HeadJob, all_spaces: Mapping[str, SearchSpace], options: SearchOptions, progress: ProgressCallback
) -> NestedScores:
    """Return the scores of the whole search: in each outer fold it uses the train rows of this fold only."""
    fold_scores = []
    for number, (train, held_out) in enumerate(job.searched_rows.folds(job.spec.nested, job.spec.seed)):
        progress("nested search", number, job.spec.nested)
        spaces = {name: job.search_space(space.rows.take(train)) for name, space in all_spaces.items()}
        with tempfile.TemporaryDirectory() as folder:
            result = search(spaces, job.spec, Path(folder, "journal"), no_progress, options)
        result = _with_early_stopping(result, spaces, job.spec)
        space, held_out_rows = spaces[result.embeddings], all_spaces[result.embeddings].rows.take(held_out)
        if job.is_fitted_once:
            model = fit_once(space.head, result.params, space.rows, job.spec)
        else:
            model, _ = fit_out_of_fold(space.head, result.params, space.rows, job.spec)
        targets = held_out_rows.targets.decided_by(held_out_rows.decision_rule)
        fold_scores.append(signed_score(result.metric, targets, predict_outputs(model, held_out_rows.x, targets.kind)))
    progress("nested search", job.spec.nested, job.spec.nested)
    return NestedScores(folds=fold_scores, mean=float(np.mean(fold_scores)), sd=float(np.std(fold_scores, ddof=1)))


def write_run(job: HeadJob, completed_search: CompletedSearch, folder: Path, progress: ProgressCallback) -> None:
    """Fit the chosen setting, predict all parts, and write the run into `folder`."""
    target_table, train_ids = job.target_table, job.ids["train"]
    start = time.perf_counter()
    model, out_of_fold, targets = fit_final(job, completed_search, progress)
    predictions = _predict_parts(job, completed_search, model, out_of_fold)
    train_s = time.perf_counter() - start
    result = completed_search.result
    trees = (
        None
        if job.exceeds_memory
        else score_trees(model, completed_search.space.rows, _val_rows(job, completed_search), job.spec)
    )
    run_warnings = (
        *_cut_short_warnings(job, completed_search),
        *_prediction_warnings(target_table, predictions),
        *(_boundary_warnings(completed_search, job.spec) if job.spec.trials else ()),
        *(() if job.is_fitted_once and not job.spec.trials else fold_size_warnings(targets, job.spec.folds)),
    )
    rate = steady_rate(lambda: _predictions_per_s(job, completed_search, model))
    metrics = HeadMetrics(
        finished=datetime.now(UTC).isoformat(),
        run_warnings=run_warnings,
        oof=None if out_of_fold is None else scores(target_table, predictions.of("oof")),
        val=score_val(target_table, predictions),
        val_state=job.study.val_state(job.target),
        search=result,
        nested=completed_search.nested,
        calibration=_calibration_metrics(out_of_fold),
        train_s=round(train_s, 2),
        prediction_s=1 / rate if rate else None,
        trees=trees,
        embedding_gains=embedding_gains(
            model, {embedding.request.name: embedding.n_features for embedding in completed_search.embeddings}
        ),
    )
    metrics.write(folder)
    write_table(folder / "predictions.parquet", predictions.to_frame())
    header = provenance(train_ids) | _header(job, completed_search, predictions, metrics)
    write_head(folder, model, header, completed_search.space.rows.x[:N_GOLDEN_ROWS])
    if job.spec.trials:
        shutil.copy(completed_search.journal, folder / "trials.journal")


def _boundary_warnings(completed_search: CompletedSearch, spec: HeadSpec) -> list[RunWarning]:
    """Return warnings of values at the ends of the search space, with ranges that the rows allow."""
    result, rows = completed_search.result, completed_search.space.rows
    n_rows = count_smallest_fold_rows(rows, spec)
    limits = {"n_neighbors": n_rows, "components": min(n_rows, rows.x.shape[1])}
    return boundary_warnings(result.space, result.suggested, result.params, limits)


def _cut_short_warnings(job: HeadJob, completed_search: CompletedSearch) -> list[RunWarning]:
    """Return a warning if a budget or ``timeout_s`` ended the search."""
    result = completed_search.result
    if result.is_timed_out:
        text = (
            f"timeout_s = {job.spec.timeout_s:g} ended the search after {len(result.trials) + result.n_pruned} of "
            f"{job.spec.trials} trials; a larger timeout_s, or 'featx fit --timeout SECONDS', searches longer"
        )
        return [RunWarning("cut short", text)]
    if not result.is_cut_short:
        return []
    count_text = f"{len(result.trials)} of {job.spec.trials} settings were scored"
    text = (
        f"{count_text} before the share of the budget was spent; 'featx fit --force' without a budget searches them all"
    )
    return [RunWarning("cut short", text)]


def _predict_parts(
    job: HeadJob, completed_search: CompletedSearch, model: Pipeline, out_of_fold: OutOfFold | None
) -> AnyPredictions:
    """Return the predictions out of fold, if there are some, and those for val and test rows."""
    target_table, rule, tables = job.target_table, completed_search.space.rows.decision_rule, []
    if out_of_fold is not None:
        outputs, fold_numbers = out_of_fold.outputs, out_of_fold.fold_numbers
        tables.append(predictions_of_part(target_table, "oof", job.ids["train"], outputs, fold_numbers, rule))
    for part in ("val", "test"):
        if len(job.ids[part]):
            _, outputs = _timed_predictions(job, completed_search, model, job.ids[part])
            tables.append(predictions_of_part(target_table, part, job.ids[part], outputs, decision=rule))
    return concatenate_predictions(tables)


def _val_rows(job: HeadJob, completed_search: CompletedSearch) -> TrainRows | None:
    """Return the val rows with the embeddings of the run; None without a val part."""
    ids = job.ids["val"]
    if not len(ids):
        return None
    return TrainRows(job.features(ids, completed_search.embeddings), TargetValues.of(job.target_table.take(ids)))


def _prediction_warnings(target_table: AnyTruth, predictions: AnyPredictions) -> list[RunWarning]:
    """Return warnings of the predictions for train rows out of fold, or for val rows if there are none."""
    oof = predictions.of("oof")
    targets, outputs = align(target_table, oof if len(oof.ids) else predictions.of("val"))
    return PROBLEMS[targets.kind].prediction_warnings(targets, outputs)


def _calibration_metrics(out_of_fold: OutOfFold | None) -> CalibrationMetrics:
    if out_of_fold is None:
        return CalibrationMetrics(method="none", log_losses={})
    return CalibrationMetrics(method=out_of_fold.method, log_losses=out_of_fold.log_losses)


def _header(
    job: HeadJob, completed_search: CompletedSearch, predictions: AnyPredictions, metrics: HeadMetrics
) -> dict[str, Any]:
    """Return the entries of the model's header that describe this run."""
    field_names = set(ResolvedEmbedding.model_fields)
    return {
        "target": job.target,
        job.target_table.kind: job.target_table.names,
        "n_features": completed_search.space.rows.x.shape[1],
        "embeddings": [embedding.model_dump(include=field_names) for embedding in completed_search.embeddings],
        "conformal": ConformalSpec.of(job.target_table, predictions, job.study.groups),
        "decision": completed_search.space.rows.decision_rule,
        "metrics": metrics.scores_by_part,
    }


def fit_final(
    job: HeadJob, completed_search: CompletedSearch, progress: ProgressCallback
) -> tuple[Pipeline, OutOfFold | None, TargetValues]:
    """Return the final model, its out-of-fold predictions if it has some, and the target values of the train rows."""
    space, params, spec = completed_search.space, completed_search.result.params, job.spec
    if job.is_fitted_once:
        progress(f"fit {spec.name}", 0, 1)
        return fit_once(space.head, params, space.rows, spec), None, space.rows.targets
    if job.exceeds_memory:
        rows = (partial(job.open_stored_rows, job.ids["train"]), job.rows_without_features)
        model, out_of_fold = fit_stored_rows(space.head, params, rows, spec, progress)
        return model, out_of_fold, job.rows_without_features.targets
    model, out_of_fold = fit_out_of_fold(space.head, params, space.rows, spec, partial(progress, f"fit {spec.name}"))
    return model, out_of_fold, space.rows.targets


def _timed_predictions(
    job: HeadJob, completed_search: CompletedSearch, model: Pipeline, ids: Ids
) -> tuple[float, NDArray[np.float64]]:
    """Return the seconds that predictions for these ids took, and the predictions."""
    if job.exceeds_memory:
        stored_rows, start = job.open_stored_rows(ids), time.perf_counter()
        outputs = predict_in_blocks(model, stored_rows)
    else:
        x, start = job.features(ids, completed_search.embeddings), time.perf_counter()
        outputs = predict_outputs(model, x, job.target_table.kind)
    return time.perf_counter() - start, outputs


def _predictions_per_s(job: HeadJob, completed_search: CompletedSearch, model: Pipeline) -> float:
    """Return the number of images per second that the head predicts from their embeddings, measured once."""
    n_features = completed_search.space.rows.x.shape[1]
    n_images = max(MIN_TIMED_IMAGES, min(N_TIMED_IMAGES, MAX_TIMED_NUMBERS // n_features))
    ids = job.ids["train"][:n_images]
    return len(ids) / max(_timed_predictions(job, completed_search, model, ids)[0], 1e-9)
