"""Measured rates at which networks embed images on this machine, stored beside the stores that were filled."""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from featx.errors import FeatxError
from featx.files.atomic import file_lock, read_json_as, write_json

logger = logging.getLogger(__name__)

# A rate is recorded only if it was measured on at least this many images.
MIN_IMAGES_TO_RECORD = 32
# Largest ratio of two measurements of one rate that count as equal.
MAX_RATE_RATIO = 1.2
# Batches that each half of a pass must have for its rate to be measured.
MIN_BATCHES_PER_HALF = 2
# Number of measurements, of all that are taken, that must agree.
N_AGREEING = 3
MAX_MEASUREMENTS = 10


def steady_rate(measure: Callable[[], float], max_s: float = math.inf) -> float | None:
    """Measure a rate until the three largest values agree, and return their mean; None where they never agree.

    Other processes on the machine make a rate smaller and never larger, so the largest values are the best estimate.

    Parameters
    ----------
    measure
        Takes one measurement; called at most `MAX_MEASUREMENTS` times.
    max_s
        Seconds after which no further measurement is taken, once there are enough for an agreement.
    """
    start = time.perf_counter()
    rates: list[float] = []
    for _ in range(MAX_MEASUREMENTS):
        if len(rates) > N_AGREEING and time.perf_counter() - start > max_s:
            break
        rates.append(measure())
        largest_rates = sorted(rates)[-N_AGREEING:]
        if len(rates) > N_AGREEING and largest_rates[-1] <= (1 + (MAX_RATE_RATIO - 1) / 2) * largest_rates[0]:
            return sum(largest_rates) / N_AGREEING
    return None


def rounded_rate(rate: float) -> float:
    """Return a rate with four significant digits, so that that of a slow network does not become 0."""
    return float(f"{rate:.4g}")


def rate_of_batches(batch_s: Sequence[Sequence[float]]) -> float | None:
    """Return the images per second of a pass, None where its networks ran too unevenly or for too few batches.

    Parameters
    ----------
    batch_s
        Seconds per image of each batch, one sequence for each network. The first batch is left out, since it includes
        work that is done once; the halves of the other batches must agree.
    """
    image_s = 0.0
    for network_batch_s in batch_s:
        seconds = network_batch_s[1:]
        middle = len(seconds) // 2
        if middle < MIN_BATCHES_PER_HALF:
            return None
        faster_s, slower_s = sorted((fmean(seconds[:middle]), fmean(seconds[middle:])))
        if slower_s > MAX_RATE_RATIO * faster_s:
            return None
        image_s += fmean(seconds)
    return 1 / image_s if image_s else None


@dataclass(frozen=True)
class Throughput:
    """The rate of one pass over images.

    Attributes
    ----------
    embeddings
        Fingerprints of the embeddings that were computed.
    n
        Number of images.
    images_per_s
        Images per second of the networks alone, without reading, decoding and storing.
    """

    embeddings: tuple[str, ...]
    n: int
    images_per_s: float


def record_throughput(local_folder: Path, throughput: Throughput) -> None:
    """Store the rate of a pass in the local folder of the cache, unless one of more images has the same embeddings.

    A failure to write is logged as a warning: the embeddings are stored all the same.
    """
    if throughput.n < MIN_IMAGES_TO_RECORD:
        return
    try:
        with file_lock(local_folder / ".throughputs.lock"):
            previous_entries = recorded_throughputs(local_folder)
            matching_entries = [
                entry for entry in previous_entries if set(entry.embeddings) == set(throughput.embeddings)
            ]
            if any(entry.n > throughput.n for entry in matching_entries):
                return
            entries = [*(entry for entry in previous_entries if entry not in matching_entries), throughput]
            write_json(local_folder / "throughputs.json", [asdict(entry) for entry in entries])
    except (OSError, FeatxError) as error:
        logger.warning("the rate of this extraction is not recorded: %s", error)


def recorded_throughputs(local_folder: Path) -> list[Throughput]:
    """Return the recorded rates.

    Raises
    ------
    IncompleteError
        the file has another content; the message names the file to remove.
    """
    path = local_folder / "throughputs.json"
    return read_json_as(path, list[Throughput]) if path.is_file() else []


def seconds_per_image(throughputs: Sequence[Throughput], embeddings: Collection[str]) -> float | None:
    """Return the seconds to compute some embeddings of one image; None where an embedding has no recorded rate.

    Each embedding's rate is that of the pass with the fewest embeddings; a pass with several of them is counted once.
    """
    sorted_throughputs = sorted(throughputs, key=lambda entry: len(entry.embeddings))
    passes = {
        name: next((entry for entry in sorted_throughputs if name in entry.embeddings), None) for name in embeddings
    }
    if None in passes.values():
        return None
    return sum(1 / entry.images_per_s for entry in set(passes.values()) if entry is not None)
