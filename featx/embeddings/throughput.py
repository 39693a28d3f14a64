"""How many images a second networks embed on this machine: a note of each pass, beside the stores that it filled."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from featx.errors import FeatxError
from featx.files.atomic import locked, read_json_as, write_json

logger = logging.getLogger(__name__)

FEWEST = 32  # images that a pace is told from
# Largest ratio of two measurements of one rate that count as equal.
AGREEMENT = 1.2


# Batches of a pass in each half of it that its rate is measured from.
MIN_BATCHES = 2
# Number of measurements, of all that are taken, that must agree.
N_AGREEING = 3
MAX_TRIALS = 10


def steady_rate(measure: Callable[[], float], max_trials: int = MAX_TRIALS) -> float | None:
    """Measure a rate until the three largest values agree, and return their mean; None where they never do.

    What else the machine does makes a rate smaller and never larger, so the largest values are the best estimate.

    Parameters
    ----------
    measure
        Takes one measurement.
    """
    rates: list[float] = []
    for _ in range(max_trials):
        rates.append(measure())
        largest = sorted(rates)[-N_AGREEING:]
        if len(rates) > N_AGREEING and largest[-1] <= (1 + (AGREEMENT - 1) / 2) * largest[0]:
            return sum(largest) / N_AGREEING
    return None


def rate_of_batches(lanes: Sequence[Sequence[float]]) -> float | None:
    """Return the images a second of a pass, from seconds an image of each batch of each network.

    None where the two halves of a network's batches do not agree, or are too few. The first batch of each network is
    left out, since it includes work that is done once.
    """
    total = 0.0
    for lane in lanes:
        seconds = list(lane[1:])
        middle = len(seconds) // 2
        if middle < MIN_BATCHES:
            return None
        halves = sorted((sum(seconds[:middle]) / middle, sum(seconds[middle:]) / (len(seconds) - middle)))
        if halves[1] > AGREEMENT * halves[0]:
            return None
        total += sum(seconds) / len(seconds)
    return 1 / total if total else None


@dataclass(frozen=True)
class Throughput:
    """One pass.

    Attributes
    ----------
    embeddings
        Fingerprints of those that were filled in it.
    n, images_per_s
        Images, and their rate through the networks; reading, decoding and storing are left out.
    """

    embeddings: tuple[str, ...]
    n: int
    images_per_s: float


def record_throughput(notes: Path, pace: Throughput) -> None:
    """Remember a pass in the cache's folder of notes, in the place of one no larger that filled the same.

    A note that cannot be kept is logged: what it describes is done all the same.
    """
    if pace.n < FEWEST:
        return
    try:
        with locked(notes / ".paces.lock"):
            known = recorded_throughputs(notes)
            same = [one for one in known if set(one.embeddings) == set(pace.embeddings)]
            if any(one.n > pace.n for one in same):
                return
            write_json(notes / "paces.json", [asdict(one) for one in [*(o for o in known if o not in same), pace]])
    except (OSError, FeatxError) as error:
        logger.warning("the rate of this pass is not noted: %s", error)


def recorded_throughputs(notes: Path) -> list[Throughput]:
    """Return the passes that are remembered.

    Raises
    ------
    IncompleteError
        the file holds something else; says which one to remove.
    """
    path = notes / "paces.json"
    return read_json_as(path, list[Throughput]) if path.is_file() else []


def seconds_per_image(paces: Sequence[Throughput], embeddings: Collection[str]) -> float | None:
    """Return what it takes to make some embeddings of an image; None where it is not known of one.

    Each is taken from the smallest pass that filled it, and a pass that filled several is counted once.
    """
    smallest = sorted(paces, key=lambda pace: len(pace.embeddings))
    passes = {one: next((pace for pace in smallest if one in pace.embeddings), None) for one in embeddings}
    if None in passes.values():
        return None
    return sum(1 / pace.images_per_s for pace in set(passes.values()) if pace is not None)
