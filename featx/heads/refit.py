"""Fitting of a finished head's setting on more rows, for deployment, or on embeddings in another precision.

A refitted run has no rows left to be scored on: it carries the scores of the run whose setting it has, and says so. It
is left out of comparisons and ensembles, and is predicted from or exported by its name.
"""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from featx.artifacts.artifact import write_head
from featx.artifacts.header import RefitSource, provenance, read_header
from featx.artifacts.outputs import predict_outputs
from featx.embeddings.near_copies import find_near_copies
from featx.embeddings.read import check_embedded, read_embeddings
from featx.errors import DataError, IncompleteError, UnsuitedError
from featx.files.atomic import write_table
from featx.heads.fit import FitResult, fit_errors_named, fit_result
from featx.heads.head_run import N_GOLDEN_ROWS, CompletedSearch, fit_final
from featx.heads.job import EmbeddingChoice, HeadJob
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.head import HeadSpec
from featx.specs.recipe import Recipe
from featx.specs.validation import build_spec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics
from featx.study.run_spec import HeadRunSpec, RefitSpec
from featx.study.run_warnings import RunWarning
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions, concatenate_predictions, predictions_of_part

# Name of the part of rows that a refitted run has learnt from, in its predictions.
FITTED = "fitted"


def refit(
    run: str,
    recipe: str | Path | Recipe | None = None,
    *,
    all_rows: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> FitResult:
    """Fit the chosen setting of a finished head on train and val rows, for deployment.

    Parameters
    ----------
    run
        Name of the finished run, or the beginning of its name.
    recipe
        The recipe, or its path.
    all_rows
        Whether to fit on the test rows as well. This opens the sealed test split, which is logged; by default False.
    force
        Whether to repeat a refit that exists, by default False.
    progress
        Function that is called as the work advances.

    Returns
    -------
    FitResult
        The new run, with the scores of the run that it was made from.

    Raises
    ------
    DataError
        Several runs have such a name, or there are no more rows than the run was fitted on.
    IncompleteError
        An embedding of the run is not among the extracted ones, or lacks images.
    UnsuitedError
        The run is no head.
    """
    study = Study.open(recipe)
    find_near_copies(study, progress)
    source = _find_source(study, run)
    parts = ("train", "val", "test") if all_rows else ("train", "val")
    if not len(study.ids(parts[-1])):
        hint = (
            "refit without '--all-rows'"
            if all_rows
            else "only 'featx fit --refit RUN --all-rows' fits on more rows than the run was fitted on"
        )
        raise DataError(f"the split has no {parts[-1]} rows; {hint}")
    assert isinstance(source.spec, HeadRunSpec)
    origin = RefitSpec(
        run=source.name, body_sha256=source.body_sha256, parts=parts, val=study.val_state(source.spec.target)
    )
    spec = source.spec.model_copy(update={"refit": origin})
    stem = f"refit-{source.name.rpartition('-')[0]}"
    existing_run = None if force else study.find_run(stem, spec)
    if existing_run is None:
        job = _job(study, source, spec, _embeddings_of(study, source))
        with study.new_run(stem, spec) as folder, fit_errors_named(job.spec):
            _write_refit(job, source, spec, folder, progress)
    return fit_result(RunFolder(study.run_path(stem, spec)), study.labels(spec.target), existing_run is None)


def refit_on_embeddings(
    study: Study, source: RunFolder, embeddings: EmbeddingChoice, prefix: str, *, progress: ProgressCallback
) -> RunFolder:
    """Fit the chosen setting of a finished head on its train rows with its embeddings in another precision.

    Parameters
    ----------
    study, source
        The study and the finished run.
    embeddings
        Extracted embeddings of the same layers in the same order.
    prefix
        Beginning of the new run's name, before the name of the finished run.
    progress
        Function that is called as the work advances.

    Returns
    -------
    RunFolder
        The new run; the one that exists if this was done before.
    """
    assert isinstance(source.spec, HeadRunSpec)
    origin = RefitSpec(
        run=source.name, body_sha256=source.body_sha256, parts=("train",), val=study.val_state(source.spec.target)
    )
    fingerprints = tuple(embedding.spec.fingerprint() for embedding in embeddings)
    spec = source.spec.model_copy(update={"refit": origin, "embeddings": fingerprints})
    stem = f"{prefix}-{source.name.rpartition('-')[0]}"
    if existing_run := study.find_run(stem, spec):
        return existing_run
    job = _job(study, source, spec, embeddings)
    with study.new_run(stem, spec) as folder, fit_errors_named(job.spec):
        _write_refit(job, source, spec, folder, progress)
    return RunFolder(study.run_path(stem, spec))


def _find_source(study: Study, name: str) -> RunFolder:
    """Return the finished head that a name means.

    Raises
    ------
    DataError
        Several runs have such a name.
    UnsuitedError
        The run is no head.
    """
    runs = study.runs(names=(name,))
    exact_runs = [run for run in runs if run.name == name] or runs
    if len(exact_runs) > 1:
        raise DataError(
            f"{name!r} matches {len(exact_runs)} runs: {', '.join(run.name for run in exact_runs)}; name one of them"
        )
    if exact_runs[0].kind != "head":
        raise UnsuitedError(f"{exact_runs[0].name} is of kind {exact_runs[0].kind!r}; only heads can be refitted")
    return exact_runs[0]


def _embeddings_of(study: Study, source: RunFolder) -> EmbeddingChoice:
    """Return the extracted embeddings that a head uses, in the order of its features.

    Raises
    ------
    IncompleteError
        The last extraction has not made one of them.
    """
    extracted_embeddings = {embedding.spec.fingerprint(): embedding for embedding in study.locked}
    embeddings = read_header(source.path)[1].embeddings
    for embedding in embeddings:
        if embedding.spec.fingerprint() not in extracted_embeddings:
            raise IncompleteError(_missing_text(source.name, embedding, study.locked))
    return tuple(extracted_embeddings[embedding.spec.fingerprint()] for embedding in embeddings)


def _missing_text(run: str, missing: ResolvedEmbedding, extracted: EmbeddingChoice) -> str:
    """Return the message about an embedding of a run that is not among the extracted ones."""
    name, names = missing.request.name, [embedding.request.name for embedding in extracted]
    if name in names:
        return (
            f"{run} was fitted to embedding {name!r}, which has been extracted with other weights, preprocessing or "
            "precision since; run 'featx fit' to fit the head to the extracted vectors, and refit that run"
        )
    return (
        f"{run} was fitted to embedding {name!r}, which is not among those extracted ({', '.join(names) or 'none'}); "
        "add it to the recipe and run 'featx extract', or run 'featx fit' and refit a run on the extracted embeddings"
    )


def _job(study: Study, source: RunFolder, spec: HeadRunSpec, embeddings: EmbeddingChoice) -> HeadJob:
    """Return the job of fitting the setting of a run on the rows of `spec.refit` with these embeddings.

    Raises
    ------
    IncompleteError
        Images have no embedding in the cache.
    """
    assert isinstance(source.metrics, HeadMetrics)
    assert spec.refit is not None
    parts = spec.refit.parts
    target, ids = spec.target, {part: study.ids(part) for part in ("train", "val", "test")}
    fit_ids = np.concatenate([ids[part] for part in parts])
    all_ids = np.concatenate(list(ids.values()))
    # Missing vectors must be found before the test split is opened, because each opening is logged.
    check_embedded(study, all_ids, embeddings)
    read_features = cache(lambda: read_embeddings(study, all_ids, embeddings))
    labels = study.labels(target) if "test" not in parts else study.open_all_labels(target, [source.name])
    fields = spec.head | {"embeddings": "all", "calibration": source.metrics.calibration.method}
    head = build_spec(HeadSpec, f"run {source.name}", **fields)
    rows: dict[str, Ids] = {"train": fit_ids, "val": fit_ids[:0], "test": fit_ids[:0]}
    return HeadJob(study, target, head, embeddings, read_features, rows, labels, is_refit=True)


def _write_refit(job: HeadJob, source: RunFolder, spec: HeadRunSpec, folder: Path, progress: ProgressCallback) -> None:
    """Fit the setting of a run on the rows of a job, and write the refitted run into `folder`."""
    metrics, (_, header) = source.metrics, read_header(source.path)
    assert isinstance(metrics, HeadMetrics)
    assert spec.refit is not None
    ((embedding_names, space),) = job.search_spaces().items()
    completed_search = CompletedSearch(space, job.locked_embeddings, metrics.search, source.path, None)
    start = time.perf_counter()
    model, _, _ = fit_final(job, completed_search, progress)
    train_s = round(time.perf_counter() - start, 2)
    n_rows, parts = len(job.ids["train"]), " + ".join(spec.refit.parts)
    resolved_fields = set(ResolvedEmbedding.model_fields)
    embeddings = [ResolvedEmbedding(**item.model_dump(include=resolved_fields)) for item in job.locked_embeddings]
    is_other_precision = {item.spec for item in embeddings} != {item.spec for item in header.embeddings}
    purpose = f"with embeddings in {embeddings[0].spec.precision}" if is_other_precision else "for deployment"
    text = f"fitted on {n_rows} rows ({parts}) {purpose}; the scores are those of {source.name}"
    changes = {
        "finished": datetime.now(UTC).isoformat(),
        "run_warnings": (RunWarning("refit", text), *metrics.run_warnings),
        "train_s": train_s,
        "trees": None,
        "search": metrics.search.model_copy(update={"embeddings": embedding_names}),
    }
    metrics.model_copy(update=changes).write(folder)
    predictions = _predictions(job, completed_search, model, spec.refit.parts)
    write_table(folder / "predictions.parquet", predictions.to_frame())
    origin = RefitSource(run=source.name, parts=spec.refit.parts, n_rows=n_rows)
    header_fields = ("target", "classes", "labels", "numbers", "conformal", "metrics")
    fields = {name: getattr(header, name) for name in header_fields} | provenance(job.ids["train"])
    fields |= {
        "n_features": job.n_features,
        "embeddings": embeddings,
        "decision": space.rows.decision_rule,
        "refit": origin,
    }
    write_head(folder, model, fields, space.rows.x[:N_GOLDEN_ROWS])


def _predictions(
    job: HeadJob, completed_search: CompletedSearch, model: object, parts: tuple[str, ...]
) -> AnyPredictions:
    """Return the predictions for val and test rows, marked by whether the model has learnt from them."""
    tables = []
    for part in ("val", "test"):
        ids: Ids = job.study.ids(part)
        if len(ids):
            outputs = predict_outputs(model, job.features(ids, completed_search.embeddings), job.target_table.kind)
            name, rule = FITTED if part in parts else part, completed_search.space.rows.decision_rule
            tables.append(predictions_of_part(job.target_table, name, ids, outputs, decision=rule))
    return concatenate_predictions(tables)
