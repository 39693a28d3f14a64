"""How fast images became vectors on this machine: each pass over images, noted beside the stores that it filled."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from featx.disk import locked, read_json, write_json

FEWEST = 32  # images that a pace is told from
# Largest ratio of two measurements of one rate that count as equal.
AGREEMENT = 1.2


@dataclass(frozen=True)
class Pace:
    """One pass.

    Attributes
    ----------
    embeddings
        Fingerprints of those that were filled in it.
    n, images_per_s
        Images, and their rate from reading to storing; making the networks ready is left out.
    """

    embeddings: tuple[str, ...]
    n: int
    images_per_s: float


def keep_pace(notes: Path, pace: Pace) -> None:
    """Remember a pass in the cache's folder of notes, in the place of one no larger that filled the same."""
    if pace.n < FEWEST:
        return
    with locked(notes / ".paces.lock"):
        known = known_paces(notes)
        same = [one for one in known if set(one.embeddings) == set(pace.embeddings)]
        if any(one.n > pace.n for one in same):
            return
        write_json(notes / "paces.json", [asdict(one) for one in [*(o for o in known if o not in same), pace]])


def known_paces(notes: Path) -> list[Pace]:
    """Return the passes that are remembered."""
    path = notes / "paces.json"
    found = read_json(path) if path.is_file() else []
    return [Pace(tuple(one["embeddings"]), one["n"], one["images_per_s"]) for one in found]


def seconds_an_image(paces: Sequence[Pace], embeddings: Collection[str]) -> float | None:
    """Return what it takes to make some embeddings of an image; None where it is not known of one.

    Each is taken from the smallest pass that filled it, and a pass that filled several is counted once.
    """
    smallest = sorted(paces, key=lambda pace: len(pace.embeddings))
    passes = {one: next((pace for pace in smallest if one in pace.embeddings), None) for one in embeddings}
    if None in passes.values():
        return None
    return sum(1 / pace.images_per_s for pace in set(passes.values()) if pace is not None)
