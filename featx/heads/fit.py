"""Tune heads on a recipe's cached embeddings; each becomes a run folder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifact import provenance, write_head
from featx.disk import locked, write_json, write_table
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.heads.models import Head, Task
from featx.heads.search import SearchResult, TrainRows, check_folds, fitted, out_of_fold, search
from featx.metrics import score, scores
from featx.progress import Watch, unwatched
from featx.recipe import Recipe, checked_spec
from featx.registry import HEADS
from featx.specs import HeadSpec, ResolvedEmbedding, fingerprint
from featx.tables import Embeddings, Ids, Predictions, Truth
from featx.weighting import row_weights
from featx.workspace import LockedEmbedding, RunFolder, Study

N_GOLDEN = 5


@dataclass(frozen=True)
class Fitted:
    """One head's run.

    Attributes
    ----------
    made
        False where an equal run was there already.
    cv_score
        Mean over the folds of the chosen setting, of the spec's metric.
    val_accuracy
        None without a val split.
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
    metric: str
    cv_score: float
    oof_accuracy: float
    val_accuracy: float | None
    search_s: float
    train_s: float


@dataclass(frozen=True)
class Job:
    """Everything that one run is made from.

    Attributes
    ----------
    ids
        Of train, val and test, in this order.
    truth
        Of train and val only.
    """

    study: Study
    target: str
    spec: HeadSpec
    locked: tuple[LockedEmbedding, ...]
    ids: dict[str, Ids]
    truth: Truth

    def asked(self) -> dict[str, Any]:
        """Return what makes this run what it is; its fingerprint names the folder."""
        return {
            "kind": "head",
            "head": self.spec.identity(),
            "target": self.target,
            "embeddings": [one.spec.fingerprint() for one in self.locked],
            "split": self.study.split_fingerprint(),
            "groups": self.study.recipe.split.by,
            "labels": self.study.labels_fingerprint(self.target),
        }


def fit(  # noqa: PLR0913 - one keyword for each thing that a recipe says and a call may say otherwise
    recipe: str | Path | Recipe | None = None,
    *,
    heads: Sequence[str | HeadSpec] | str | HeadSpec = (),
    target: str | None = None,
    embedding: str | None = None,
    trials: int | None = None,
    timeout_s: float | None = None,
    force: bool = False,
    watch: Watch = unwatched,
) -> list[Fitted]:
    """Tune and fit heads on cached embeddings.

    Parameters
    ----------
    heads
        Their names (with the recipe's settings) or specs; the recipe's by default.
    target
        One of the recipe's targets; all by default.
    embedding
        One of the extracted embeddings by name; all of the recipe's, side by side, by default.
    trials, timeout_s
        Instead of the recipe's.
    force
        Make runs again that are there.

    Raises
    ------
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
    said = {"trials": trials, "timeout_s": timeout_s}
    changes = {name: value for name, value in said.items() if value is not None}
    specs = [checked_spec(HeadSpec, f"head {spec.name}", **spec.model_dump() | changes) for spec in specs]
    extracted = tuple(locked_embeddings(study, embedding))
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    embeddings = read_embeddings(study, np.concatenate(list(ids.values())), extracted)
    jobs = [
        Job(study, name, spec, extracted, ids, study.truth(name))
        for name in study.of_kind("classes", target)
        for spec in specs
    ]
    return [_fit_one(job, embeddings, force, watch) for job in jobs]


def _fit_one(job: Job, embeddings: Embeddings, force: bool, watch: Watch) -> Fitted:
    asked = job.asked()
    # beside the run folder, so that an interrupted search goes on where it stopped
    journal = job.study.folder / f".trials-{fingerprint(asked)}.journal"
    stem = f"{job.spec.name}-{job.target}"
    with locked(journal.with_suffix(".lock")):  # who comes second finds the run made
        if force:
            journal.unlink(missing_ok=True)
        make = partial(_make, job, embeddings, journal, watch)
        run, made = job.study.run_once(stem, asked, force, make)
    return _as_fitted(run, job.truth, made)


def _make(job: Job, embeddings: Embeddings, journal: Path, watch: Watch, folder: Path) -> None:
    """Search, fit, predict, and write the run into `folder`."""
    spec, train_ids = job.spec, job.ids["train"]
    truth = job.truth.take(train_ids)
    x = embeddings.take(train_ids).x
    weights = row_weights(f"head {spec.name!r}", spec.class_weight, truth)
    rows = TrainRows(x, truth.codes, weights, job.study.groups(train_ids))
    check_folds(rows, spec, truth.classes)
    head: Head = HEADS.get(spec.name)(Task(len(x), x.shape[1], len(truth.classes), spec.seed))
    found = search(head, spec, rows, journal, watch)
    start = time.perf_counter()
    proba, fold_of = out_of_fold(head, found.params, rows, spec)
    tables = [Predictions.of_part("oof", train_ids, proba, truth.classes, fold_of)]
    model = fitted(head, found.params, rows, probabilities=True, seed=spec.seed)
    for part in ("val", "test"):
        if len(job.ids[part]):
            answers = model.predict_proba(embeddings.take(job.ids[part]).x)
            tables.append(Predictions.of_part(part, job.ids[part], answers, truth.classes))
    predictions = Predictions.concatenate(tables)
    metrics = _metrics(job, predictions, found, time.perf_counter() - start)
    write_json(folder / "metrics.json", metrics)
    write_table(folder / "predictions.parquet", predictions.to_frame())
    header = provenance(train_ids) | {
        "target": job.target,
        "classes": truth.classes,
        "n_features": x.shape[1],
        "embeddings": [one.model_dump(include=set(ResolvedEmbedding.model_fields)) for one in job.locked],
        "metrics": {part: metrics[part] for part in ("oof", "val") if metrics[part]},
    }
    write_head(folder, model, header, x[:N_GOLDEN])
    journal.rename(folder / "trials.journal")


def _metrics(job: Job, predictions: Predictions, found: SearchResult, train_s: float) -> dict[str, Any]:
    val = predictions.of("val")
    return {
        "oof": scores(job.truth, predictions.of("oof")),
        "val": scores(job.truth, val) if len(val.ids) else None,
        "cv_score": found.score,
        "params": found.params,
        "trials": found.trials,
        "search_s": round(found.seconds, 2),
        "train_s": round(train_s, 2),
        "finished": datetime.now(UTC).isoformat(),
    }


def _as_fitted(run: RunFolder, truth: Truth, made: bool) -> Fitted:
    metrics = run.metrics
    val = run.predictions.of("val")
    head = run.spec["head"]
    return Fitted(
        run=run.name,
        head=head["name"],
        target=run.spec["target"],
        path=str(run.path),
        made=made,
        n_trials=len(metrics["trials"]),
        params=metrics["params"],
        metric=head["metric"],
        cv_score=metrics["cv_score"],
        oof_accuracy=metrics["oof"]["accuracy"],
        val_accuracy=score("accuracy", truth, val) if len(val.ids) else None,  # its labels may have changed since
        search_s=metrics["search_s"],
        train_s=metrics["train_s"],
    )
