"""Costs of a run: time of training, rate of prediction, and size of the files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featx.artifacts.artifact import read_member_headers
from featx.artifacts.header import BODY_FILES, read_header
from featx.embeddings.throughput import MAX_RATE_RATIO, recorded_throughputs, seconds_per_image
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics, NetworkMetrics
from featx.study.smoothed_metrics import SmoothedMetrics
from featx.study.study import Study


@dataclass(frozen=True)
class Cost:
    """Costs of one run.

    Attributes
    ----------
    fit_s
        Seconds of search and training; for an ensemble the sum over its members.
    images_per_s
        Images per second at prediction, measured on the machine that made the run: networks and heads alone, without
        reading and decoding images. An ensemble runs its members one after the other, with shared parts counted once.
        None if something was not measured, or if repeated measurements did not agree.
    n_bytes
        Size in bytes of the run's own file and of the weights that it needs, each counted once; None if not known.
    n_models
        Number of heads and networks that predict: 1, or the number of members of an ensemble.
    """

    fit_s: float | None
    images_per_s: float | None
    n_bytes: int | None
    n_models: int = 1


def read_costs(study: Study, run: RunFolder) -> Cost:
    """Return the costs of a run, as far as they are known."""
    models = _models_of(run)
    embeddings = {
        embedding.spec.fingerprint() for model in models for embedding in read_header(model.path)[1].embeddings
    }
    body_bytes = sum((folder.path / BODY_FILES[folder.kind]).stat().st_size for folder in {run, *models})
    metrics = run.metrics
    weights_bytes = _weights_bytes(study, embeddings)
    return Cost(
        _sum_or_none(model.metrics.elapsed_s for model in models),
        metrics.images_per_s if isinstance(metrics, SmoothedMetrics) else _images_per_s(study, models, embeddings),
        None if weights_bytes is None else body_bytes + weights_bytes,
        len(models),
    )


def find_cheapest(runs: Sequence[str], costs: Mapping[str, Cost]) -> str:
    """Return the run that predicts the most images per second.

    Runs whose rate was not measured are left out if the rate of another run was. Rates count as equal if they differ by
    no more than two measurements of one run may. Among equal runs, the one of the fewest models is taken, then the
    smallest, then the first.
    """
    measured_runs = [run for run in runs if costs[run].images_per_s]
    max_rate = max((costs[run].images_per_s or 0.0 for run in measured_runs), default=0.0)
    fastest_runs = [run for run in measured_runs if (costs[run].images_per_s or 0.0) * MAX_RATE_RATIO >= max_rate]
    return find_simplest(fastest_runs or runs, costs)


def find_simplest(runs: Sequence[str], costs: Mapping[str, Cost]) -> str:
    """Return the run of the fewest models; among equal ones the smallest, then the first."""

    def complexity(run: str) -> tuple[float, float]:
        cost = costs[run]
        return cost.n_models, math.inf if cost.n_bytes is None else cost.n_bytes

    return min(runs, key=complexity)


def _models_of(run: RunFolder) -> list[RunFolder]:
    """Return the heads and networks that predict for a run: the run itself, or those beneath an ensemble."""
    header = read_header(run.path)[1]
    if header.kind not in {"ensemble", "smoothed"}:
        return [run]
    return [
        RunFolder(path) for path, member in read_member_headers(run.path, header).items() if member.kind != "ensemble"
    ]


def _sum_or_none(values: Iterable[float | None]) -> float | None:
    """Return the sum; None if one of the values is None."""
    terms = list(values)
    numbers = [term for term in terms if term is not None]
    return sum(numbers) if len(numbers) == len(terms) else None


def _images_per_s(study: Study, models: list[RunFolder], embeddings: set[str]) -> float | None:
    embedding_s = seconds_per_image(recorded_throughputs(study.cache.local_folder), embeddings)
    seconds = _sum_or_none([*map(_predict_s, models), embedding_s])
    return 1 / seconds if seconds else None


def _predict_s(run: RunFolder) -> float | None:
    """Return the seconds of one prediction: from an embedding or, for a network, from pixels."""
    metrics = run.metrics
    if isinstance(metrics, NetworkMetrics):
        return 1 / metrics.images_per_s if metrics.images_per_s else None
    return metrics.prediction_s if isinstance(metrics, HeadMetrics) else None


def _weights_bytes(study: Study, embeddings: set[str]) -> int | None:
    locked = {embedding.spec.fingerprint(): embedding for embedding in study.locked}
    if not embeddings <= locked.keys():
        return None
    files = {locked[fingerprint].weights_file for fingerprint in embeddings}
    return sum(file[1] for file in files if file is not None)
