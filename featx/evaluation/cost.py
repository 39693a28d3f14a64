"""What a run costs: to train, to predict with, and to store."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featx.artifacts.artifact import beneath
from featx.artifacts.header import BODIES, read_header
from featx.embeddings.throughput import AGREEMENT, recorded_throughputs, seconds_per_image
from featx.study.run_folder import RunFolder
from featx.study.study import Study


@dataclass(frozen=True)
class Cost:
    """What a run costs.

    Attributes
    ----------
    fit_s
        Seconds of search and training; of an ensemble those of its members.
    images_per_s
        At prediction, as measured on the machine that made them: networks and heads alone, without reading and decoding
        images. Of an ensemble: its members one after the other, what they share once. None where something was not
        measured, or repeated measurements did not agree.
    n_bytes
        Of its own file and of the weights that it needs, each once. None where these are not known.
    n_models
        Number of heads and networks that predict: 1, or those of an ensemble.
    """

    fit_s: float | None
    images_per_s: float | None
    n_bytes: int | None
    n_models: int = 1


def cost_of(study: Study, run: RunFolder) -> Cost:
    """Return what is known of a run's costs."""
    asked = _asked(run)
    needed = {one.spec.fingerprint() for each in asked for one in read_header(each.path)[1].embeddings}
    bodies = sum((one.path / BODIES[one.kind]).stat().st_size for one in {run, *asked})
    weights = _weights_bytes(study, needed)
    return Cost(
        _total(map(_fit_s, asked)),
        _images_per_s(study, asked, needed),
        None if weights is None else bodies + weights,
        len(asked),
    )


def cheapest(runs: Sequence[str], costs: Mapping[str, Cost]) -> str:
    """Return the run that predicts the most images a second.

    Runs whose rate was not measured are left out where that of another one was. Rates that differ by less than two
    measurements may are equal: of equals the run of the fewest models is taken, then the smallest, then the first.
    """
    measured = [run for run in runs if costs[run].images_per_s]
    fastest = max((costs[run].images_per_s or 0.0 for run in measured), default=0.0)
    equal = [run for run in measured if (costs[run].images_per_s or 0.0) * AGREEMENT >= fastest]
    return simplest(equal or runs, costs)


def simplest(runs: Sequence[str], costs: Mapping[str, Cost]) -> str:
    """Return the run of the fewest models; of equals the smallest, then the first."""

    def price(run: str) -> tuple[float, float]:
        cost = costs[run]
        return cost.n_models, math.inf if cost.n_bytes is None else cost.n_bytes

    return min(runs, key=price)


def _asked(run: RunFolder) -> list[RunFolder]:
    """Return the heads and networks that a run asks: itself, or those beneath an ensemble."""
    header = read_header(run.path)[1]
    if header.kind != "ensemble":
        return [run]
    return [RunFolder(path) for path, one in beneath(run.path, header).items() if one.kind != "ensemble"]


def _total(values: Iterable[float | None]) -> float | None:
    """Return the sum; None where one is not known."""
    found = list(values)
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def _fit_s(run: RunFolder) -> float | None:
    parts = [run.metrics[name] for name in ("search_s", "train_s") if name in run.metrics]
    return float(sum(parts)) if parts else None


def _images_per_s(study: Study, runs: list[RunFolder], embeddings: set[str]) -> float | None:
    each = [_answer_s(run) for run in runs]
    seconds = _total([*each, seconds_per_image(recorded_throughputs(study.cache.notes), embeddings)])
    return 1 / seconds if seconds else None


def _answer_s(run: RunFolder) -> float | None:
    """Return the seconds of one answer, from an embedding or, of a network, from pixels."""
    if run.kind == "network":
        return 1 / run.metrics["images_per_s"] if run.metrics.get("images_per_s") else None
    found = run.metrics.get("answer_s")
    return None if found is None else float(found)


def _weights_bytes(study: Study, embeddings: set[str]) -> int | None:
    locked = {one.spec.fingerprint(): one for one in study.locked}
    if not embeddings <= locked.keys():
        return None
    files = {locked[one].weights_file for one in embeddings}
    return sum(file[1] for file in files if file is not None)
