"""Tune heads on a recipe's cached embeddings; each becomes a run folder."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifacts.artifact import write_head
from featx.artifacts.header import provenance
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import VAL_STATE, rescored
from featx.embeddings.near_copies import find_near_copies
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.throughput import steady_rate
from featx.files.atomic import locked, write_table
from featx.files.seals import write_sealed
from featx.heads.fitting import OutOfFold, learnt_in_folds
from featx.heads.folds import TrainRows, check_folds
from featx.heads.job import HeadJob
from featx.heads.out_of_core.fit_out_of_core import answered_in_blocks, learnt_in_passes
from featx.heads.scaling import Params
from featx.heads.search.diagnostics import in_answers, in_folds
from featx.heads.search.distributed_search import DistributedEvaluator
from featx.heads.search.journal import clear, hold_journal
from featx.heads.search.search import SearchOptions, SearchResult, SearchSpace, search
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import chosen_metric, merit, scores
from featx.progress import ProgressCallback, no_progress
from featx.registry import HEADS
from featx.specs.base import fingerprint
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec
from featx.specs.recipe import Recipe, checked_spec
from featx.study.embedding_lock import LockedEmbedding
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.predictions import Answered, answers_of_part, concatenated
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known

# Images in one measurement of how fast a head predicts.
N_TIMED = 256
N_GOLDEN = 5


@dataclass(frozen=True)
class FitResult:
    """One head's run.

    Attributes
    ----------
    made
        False where an equal run was there already.
    metric, cv_score
        Mean over the folds of the chosen setting, of what was searched for; losses and errors have a minus.
    score, oof_score, val_score
        What runs are compared by, its value out of fold, and on val; None without a val split.
    oof_accuracy, val_accuracy
        None where the target is numbers.
    space, importances
        What was searched, and the share of the score's variance that each parameter explains; the latter empty where
        there were too few trials.
    calibration
        How outputs become probabilities.
    marks, findings
        What should be looked at, in a word or two and in a line.
    embeddings
        Those that the head stands on.
    nested_score
        Of the whole search from outside, where that was asked for.
    search_s, train_s
        Seconds.
    """

    run: str
    head: str
    target: str
    path: str
    made: bool
    n_trials: int
    params: dict[str, Any]
    n_pruned: int
    space: dict[str, Any]
    importances: dict[str, float]
    calibration: str
    marks: list[str]
    findings: list[str]
    embeddings: str
    metric: str
    cv_score: float
    nested_score: float | None
    score: str
    oof_score: float
    val_score: float | None
    oof_accuracy: float | None
    val_accuracy: float | None
    search_s: float
    train_s: float


def fit(  # noqa: PLR0913 - one keyword for each thing that a recipe says and a call may say otherwise
    recipe: str | Path | Recipe | None = None,
    *,
    heads: Sequence[str | HeadSpec] | str | HeadSpec = (),
    target: str | None = None,
    embedding: str | None = None,
    trials: int | None = None,
    timeout_s: float | None = None,
    nested: int | None = None,
    force: bool = False,
    cluster: ClusterSpec | None = None,
    progress: ProgressCallback = no_progress,
) -> list[FitResult]:
    """Tune and fit heads on cached embeddings.

    Parameters
    ----------
    heads
        Their names (with the recipe's settings) or specs; the recipe's by default.
    target
        One of the recipe's targets; all by default.
    embedding
        What heads stand on instead of what the recipe says: extracted embeddings that are called so
        (`featx.specs.EmbeddingRequest.is_called`), side by side.
    trials, timeout_s, nested
        Instead of the recipe's.
    force
        Make runs again that are there.
    cluster
        Dask workers that score trials; this process alone by default.

    Raises
    ------
    ClusterError
        they do not answer, or cannot do the work.
    IncompleteError
        nothing has been extracted yet.
    UnknownNameError
        no head is called so.
    DataError
        a class has too few rows.

    Notes
    -----
    Learns from train rows only; val and test rows are predicted, their labels are not looked at (val ones are, to
    report a score once the model is finished).
    """
    heads = [heads] if isinstance(heads, str | HeadSpec) else heads
    for head in heads:
        HEADS.get(head if isinstance(head, str) else head.name)
    study = Study.open(recipe)
    named = [study.recipe.heads_named(head) if isinstance(head, str) else [head] for head in heads]
    specs = [spec for some in named for spec in some] or list(study.recipe.head)
    said = {"trials": trials, "timeout_s": timeout_s, "nested": nested, "embeddings": embedding}
    changes = {name: value for name, value in said.items() if value is not None}
    specs = [checked_spec(HeadSpec, f"head {spec.name}", **spec.model_dump() | changes) for spec in specs]
    specs = [one for spec in specs for one in spec.grid()]
    extracted = tuple(locked_embeddings(study, embedding))
    find_near_copies(study, progress)
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    every = np.concatenate(list(ids.values()))
    read = cache(lambda: read_embeddings(study, every, extracted))
    known = {name: study.labels(name) for name in study.target_names(target)}
    jobs = [HeadJob(study, name, spec, extracted, read, ids, known[name]) for name in known for spec in specs]
    with DistributedEvaluator(cluster) as team:
        return [_fit_one(job, force, team, progress) for job in _suited(jobs, progress)]


def _suited(jobs: Sequence[HeadJob], progress: ProgressCallback) -> list[HeadJob]:
    """Leave out heads that cannot learn one of several targets.

    Raises
    ------
    UnsuitedError
        a head can learn none of them.
    """
    refusals = [(job, job.refusal()) for job in jobs]
    kept = [job for job, refusal in refusals if refusal is None]
    for job, refusal in refusals:
        if refusal is not None:
            if not any(other.spec == job.spec for other in kept):
                raise refusal
            progress("note", 0, 1, f"{job.target}: {refusal}")
    return kept


def _fit_one(job: HeadJob, force: bool, team: DistributedEvaluator, progress: ProgressCallback) -> FitResult:
    asked = job.asked()
    # beside the run folder, so that an interrupted search goes on where it stopped, and other processes may join it
    journal = job.study.folder / f".trials-{fingerprint(asked)}.journal"
    if force:
        clear(journal)
    with hold_journal(journal):
        made = _searched(job, journal, team, progress) if force or job.study.find_run(job.stem, asked) is None else None
        with locked(journal.with_suffix(".lock")):  # who comes second finds the run made
            run, is_new = job.study.run_once(job.stem, asked, force, partial(_make, job, made, progress=progress))
    clear(journal)
    if not is_new:
        run = rescored(job.study, run)
    return _as_fitted(run, job.known, is_new)


@dataclass(frozen=True)
class Searched:
    """A search that is over, and what it chose from.

    Attributes
    ----------
    nested
        Its score from outside, over the folds that were not searched in; None where it was not asked for.
    """

    arena: SearchSpace
    chosen: tuple[LockedEmbedding, ...]
    found: SearchResult
    journal: Path
    nested: dict[str, Any] | None


def _searched(job: HeadJob, journal: Path, team: DistributedEvaluator, progress: ProgressCallback) -> Searched:
    arenas, spec = job.arenas(), job.spec
    first = next(iter(arenas.values()))
    check_folds(first.rows, spec)
    starts = _last_found(job) if spec.warm else ()
    options = SearchOptions(job.study.recipe.extraction.search_gb * 1e9, starts, team)
    found = search(arenas, spec, journal, progress, options)
    outside = (
        _nested(job, first.rows, replace(options, starts=()), progress) if spec.nested else None
    )  # they saw all rows
    return Searched(arenas[found.embeddings], job.choices[found.embeddings], found, journal, outside)


def _last_found(job: HeadJob) -> tuple[Params, ...]:
    """Return the setting that the last finished search for this head and target chose, as Optuna was asked for it."""
    runs = job.study.runs(job.target) if job.study.has_runs(job.target) else []
    alike = [run for run in runs if run.kind == "head" and run.spec["head"]["name"] == job.spec.name]
    finished = alike[-1].metrics["trials"] if alike else []
    trials = [one for one in finished if "suggested" in one]  # older runs do not say
    return (max(trials, key=lambda trial: trial["score"])["suggested"],) if trials else ()


def _nested(job: HeadJob, rows: TrainRows, options: SearchOptions, progress: ProgressCallback) -> dict[str, Any]:
    """Score the whole search from outside: in each outer fold it sees the other ones only."""
    each = []
    for number, (learn, held) in enumerate(rows.folds(job.spec.nested, job.spec.seed)):
        progress("nested search", number, job.spec.nested)
        arenas = job.arenas(learn)
        check_folds(next(iter(arenas.values())).rows, job.spec)
        with tempfile.TemporaryDirectory() as folder:
            found = search(arenas, job.spec, Path(folder, "journal"), no_progress, options)
        arena, asked = arenas[found.embeddings], job.arenas(held)[found.embeddings].rows
        model, _ = learnt_in_folds(arena.head, found.params, arena.rows, job.spec)
        facts = asked.facts.decided_by(asked.decision)
        each.append(merit(found.metric, facts, predict_outputs(model, asked.x, facts.kind)))
    progress("nested search", job.spec.nested, job.spec.nested)
    return {"folds": each, "mean": float(np.mean(each)), "sd": float(np.std(each, ddof=1))}


def _make(job: HeadJob, made: Searched | None, folder: Path, progress: ProgressCallback) -> None:
    """Fit, predict, and write the run into `folder`."""
    assert made is not None  # as there is no such run
    spec, known, train_ids = job.spec, job.known, job.ids["train"]
    start = time.perf_counter()
    model, unseen, facts = _learnt(job, made, progress)
    rule = made.arena.rows.decision
    tables = [answers_of_part(known, "oof", train_ids, unseen.answers, unseen.fold_of, rule)]
    for part in ("val", "test"):
        if len(job.ids[part]):
            _, answers = _answers(job, made, model, job.ids[part])
            tables.append(answers_of_part(known, part, job.ids[part], answers, decision=rule))
    answered = concatenated(tables)
    metrics = _metrics(job, answered, made, time.perf_counter() - start)
    if rate := steady_rate(lambda: _predictions_per_s(job, made, model)):
        metrics["answer_s"] = 1 / rate
    metrics[VAL_STATE] = job.study.choosing_state(job.target)
    metrics["calibration"] = {"method": unseen.method, "log_losses": unseen.log_losses}
    odd = [*in_answers(facts.decided_by(rule), unseen.answers), *made.found.findings, *in_folds(facts, spec.folds)]
    metrics["findings"] = [asdict(one) for one in odd]
    write_sealed(folder / "metrics.json", metrics)
    write_table(folder / "predictions.parquet", answered.to_frame())
    header = provenance(train_ids) | {
        "target": job.target,
        known.kind: known.names,
        "n_features": made.arena.rows.x.shape[1],
        "embeddings": [one.model_dump(include=set(ResolvedEmbedding.model_fields)) for one in made.chosen],
        "conformal": ConformalSpec.of(known, answered, job.study.groups),
        "decision": rule,
        "metrics": {part: metrics[part] for part in ("oof", "val") if metrics[part]},
    }
    write_head(folder, model, header, made.arena.rows.x[:N_GOLDEN])
    shutil.copy(made.journal, folder / "trials.journal")


def _learnt(job: HeadJob, made: Searched, progress: ProgressCallback) -> tuple[Pipeline, OutOfFold, TargetValues]:
    """Return the model, what others say of the rows that they did not see, and what is known of these rows."""
    head, rows, params, spec = made.arena.head, made.arena.rows, made.found.params, job.spec
    if job.is_beyond_memory:
        both = (partial(job.stored, job.ids["train"]), job.shadow)
        return *learnt_in_passes(head, params, both, spec, progress), job.shadow.facts
    return *learnt_in_folds(head, params, rows, spec, partial(progress, f"fit {spec.name}")), rows.facts


def _answers(job: HeadJob, made: Searched, model: Pipeline, ids: Ids) -> tuple[float, NDArray[np.float64]]:
    """Return the seconds that answers took, and these."""
    if job.is_beyond_memory:
        stored, asked = job.stored(ids), time.perf_counter()
        answers = answered_in_blocks(model, stored)
    else:
        x, asked = job.x(ids, made.chosen), time.perf_counter()
        answers = predict_outputs(model, x, job.known.kind)
    return time.perf_counter() - asked, answers


def _predictions_per_s(job: HeadJob, made: Searched, model: Pipeline) -> float:
    """Measure once how many images a second the head predicts from their embeddings."""
    ids = job.ids["train"][:N_TIMED]
    return len(ids) / max(_answers(job, made, model, ids)[0], 1e-9)


def _metrics(job: HeadJob, answered: Answered, made: Searched, train_s: float) -> dict[str, Any]:
    found, val = made.found, answered.of("val")
    return {
        "oof": scores(job.known, answered.of("oof")),
        "val": scores(job.known, val) if len(val.ids) else None,
        "metric": found.metric,
        "cv_score": found.score,
        "params": found.params,
        "trials": found.trials,
        "n_pruned": found.n_pruned,
        "space": found.space,
        "importances": found.importances,
        "embeddings": found.embeddings,
        "nested": made.nested,
        "trials_at_once": found.at_once,
        "search_s": round(found.seconds, 2),
        "train_s": round(train_s, 2),
        "finished": datetime.now(UTC).isoformat(),
    }


def _as_fitted(run: RunFolder, known: Known, made: bool) -> FitResult:
    metrics = run.metrics
    oof, val = metrics["oof"], run.answers.of("val")
    now = scores(known, val) if len(val.ids) else {}  # val labels may have changed since
    score = chosen_metric(TargetValues.of(known), None)
    return FitResult(
        run=run.name,
        head=run.spec["head"]["name"],
        target=run.spec["target"],
        path=str(run.path),
        made=made,
        n_trials=len(metrics["trials"]) + metrics["n_pruned"],
        params=metrics["params"],
        n_pruned=metrics["n_pruned"],
        space=metrics["space"],
        importances=metrics["importances"],
        calibration=metrics["calibration"]["method"],
        marks=run.marks,
        findings=[one["text"] for one in metrics["findings"]],
        embeddings=metrics["embeddings"],
        metric=metrics["metric"],
        cv_score=metrics["cv_score"],
        nested_score=metrics["nested"] and metrics["nested"]["mean"],
        score=score,
        oof_score=oof[score],
        val_score=now.get(score),
        oof_accuracy=oof.get("accuracy"),
        val_accuracy=now.get("accuracy"),
        search_s=metrics["search_s"],
        train_s=metrics["train_s"],
    )
