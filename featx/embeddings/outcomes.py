"""One outcome for every file of a source, what is done about the bad ones, and how many are too many."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from featx.embeddings.engine import NOT_FINITE
from featx.embeddings.workers import CHANGED, DIED, REMOVED, TOO_LARGE
from featx.errors import DataError, ReadError
from featx.files import spreadsheets
from featx.files.atomic import read_table
from featx.images.contents import REFUSED
from featx.images.digests import Identity
from featx.images.readers import Listing
from featx.images.sources import read
from featx.locations import is_url

NOT_THE_FILES_FAULT = (NOT_FINITE, DIED, CHANGED, REMOVED, TOO_LARGE, REFUSED)
OUTCOMES = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")


def outcomes_of(
    found: Listing, identities: Sequence[Identity], embedded: set[str], failed: Mapping[str, str]
) -> pd.DataFrame:
    """Return exactly one outcome for each file: columns id, outcome, reason.

    Parameters
    ----------
    identities
        Of the images of `found`.
    embedded, failed
        Digests with a new vector, and digests without one and why.
    """
    first_of: dict[str, str] = {}
    rows = []
    for name, identity in zip(found.manifest.ids, identities, strict=True):
        digest = identity.digest
        if not digest:
            rows.append((name, identity.outcome, identity.reason))
        elif digest in failed:
            rows.append((name, "unreadable", failed[digest]))
        elif digest in first_of:
            rows.append((name, "duplicate", f"of {first_of[digest]}"))
        else:
            first_of[digest] = name
            rows.append((name, "embedded" if digest in embedded else "cached", ""))
    rows += [(name, "ignored", rule) for name, rule in found.ignored.items()]
    return pd.DataFrame(rows, columns=["id", "outcome", "reason"])


def quarantine(found: Listing, outcomes: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Move files that cannot be decoded away and say so in the reasons; those in archives and stores are copied.

    Returns
    -------
    pandas.DataFrame
        the outcomes, with where each file went.
    """
    moved = outcomes.copy()
    uris = dict(zip(found.manifest.ids, found.manifest.uris, strict=True))
    bad = (moved["outcome"] == "unreadable") & ~moved["reason"].str.startswith(NOT_THE_FILES_FAULT)
    for at in moved.index[bad]:
        name = str(moved.loc[at, "id"])
        moved.loc[at, "reason"] = f"{moved.loc[at, 'reason']}; {_put_away(name, uris[name], folder)}"
    return moved


def check_outside(folder: Path, source: str) -> None:
    """Refuse a quarantine inside the source: the next extraction would find it there.

    Raises
    ------
    DataError
        it is.
    """
    if not is_url(source) and folder.resolve().is_relative_to(Path(source).resolve()):
        raise DataError(f"quarantine folder {str(folder)!r} lies in the source {source!r}; name one outside of it")


def _put_away(name: str, uri: str, folder: Path) -> str:
    goal = folder / Path(name).relative_to(Path(name).anchor)
    if ".." in goal.parts:
        goal = folder / Path(name).name
    try:
        if goal.exists():
            return f"not moved: {goal} is there"
        goal.parent.mkdir(parents=True, exist_ok=True)
        if Path(uri).is_symlink() or Path(uri).is_file():
            shutil.move(uri, goal)
            return f"moved to {goal}"
        content = read(uri)
        if isinstance(content, bytes):
            goal.write_bytes(content)
            return f"copied to {goal}"
    except (OSError, ReadError, ValueError) as error:
        return f"not moved: {error}"
    return "not moved: it is a row of an array"


def too_many(limit: str, n_failed: int, n_images: int) -> bool:
    """Whether more images failed than ``"N"`` or ``"P%"`` allows.

    Raises
    ------
    DataError
        the limit is neither.

    Examples
    --------
    >>> too_many("3", 3, 10), too_many("20%", 3, 10)
    (False, True)
    """
    if not (number := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", limit.strip())):
        raise DataError(f"--max-failures: found {limit!r}, expected a number of images or a share such as '2%'")
    most = float(number[1])
    return n_failed * 100 > most * n_images if number[2] else n_failed > most


def write_csv(goal: Path, outcomes_file: str | Path) -> None:
    """Write the table of outcomes as CSV."""
    table = read_table(Path(outcomes_file), "featx extract")
    try:
        spreadsheets.write_csv(goal, table)
    except OSError as error:
        raise DataError(
            f"--outcomes: {goal} cannot be written ({error.strerror}); all is done, see {outcomes_file}"
        ) from error
