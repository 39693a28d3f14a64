"""Outcome of each file of a source, quarantine of unreadable files, and the limit on failures."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files import spreadsheets
from featx.files.atomic import atomic_file, read_table
from featx.images.contents import DAMAGE_REASONS
from featx.images.digests import ImageIdentity
from featx.images.readers import Listing
from featx.images.sources import read_content
from featx.locations import is_url

OUTCOMES = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")


def tabulate_outcomes(
    listing: Listing,
    identities: Sequence[ImageIdentity],
    embedded_digests: set[str],
    failure_reasons: Mapping[str, str],
) -> pd.DataFrame:
    """Return exactly one outcome for each file, as a table with the columns id, outcome and reason.

    Parameters
    ----------
    listing
        Images and ignored files of the source.
    identities
        Identity of each image of `listing`, in its order.
    embedded_digests
        Digests with a new vector.
    failure_reasons
        Digest → reason why it has no vector.
    """
    first_names: dict[str, str] = {}
    rows = []
    for name, identity in zip(listing.manifest.ids, identities, strict=True):
        digest = identity.digest
        if not digest:
            rows.append((name, identity.outcome, identity.reason))
        elif digest in failure_reasons:
            rows.append((name, "unreadable", failure_reasons[digest]))
        elif digest in first_names:
            rows.append((name, "duplicate", f"of {first_names[digest]}"))
        else:
            first_names[digest] = name
            rows.append((name, "embedded" if digest in embedded_digests else "cached", ""))
    rows += [(name, "ignored", rule) for name, rule in listing.ignored.items()]
    return pd.DataFrame(rows, columns=["id", "outcome", "reason"])


def quarantine(listing: Listing, outcomes: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Move files whose content is damaged to a folder; files in archives and object stores are copied.

    Files stay where they are if they are unreadable for another reason: they may need a setting, a package, a
    permission or more memory.

    Returns
    -------
    pandas.DataFrame
        the outcomes, with the new place of each file in its reason.
    """
    outcomes = outcomes.copy()
    uris = dict(zip(listing.manifest.ids, listing.manifest.uris, strict=True))
    is_damaged = (outcomes["outcome"] == "unreadable") & outcomes["reason"].str.startswith(DAMAGE_REASONS)
    for row in outcomes.index[is_damaged]:
        name = str(outcomes.loc[row, "id"])
        outcomes.loc[row, "reason"] = f"{outcomes.loc[row, 'reason']}; {_move(name, uris[name], folder)}"
    return outcomes


def check_outside(folder: Path, source: str) -> None:
    """Check that a quarantine folder lies outside the source, where the next extraction would read it.

    Raises
    ------
    DataError
        it lies in the source.
    """
    if not is_url(source) and folder.resolve().is_relative_to(Path(source).resolve()):
        raise DataError(f"quarantine folder {str(folder)!r} lies in the source {source!r}; name a folder outside of it")


def _move(name: str, uri: str, folder: Path) -> str:
    """Move or copy one file to a folder, and return what was done."""
    target = folder / Path(name).relative_to(Path(name).anchor)
    if ".." in target.parts:
        target = folder / Path(name).name
    try:
        if target.exists():
            return f"not moved: {target} already exists"
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(uri).is_symlink() or Path(uri).is_file():
            shutil.move(uri, target)
            return f"moved to {target}"
        content = read_content(uri)
        if isinstance(content, bytes):
            with atomic_file(target) as temporary:
                temporary.write_bytes(content)
            return f"copied to {target}"
    except (OSError, ReadError, ValueError) as error:
        return f"not moved: {error}"
    return "not moved: it is a row of an array"


def exceeds_limit(limit: str, n_failed: int, n_images: int) -> bool:
    """Return whether more images failed than the limit ``"N"`` or ``"P%"`` allows.

    Raises
    ------
    DataError
        the limit is neither a number nor a percentage.

    Examples
    --------
    >>> exceeds_limit("3", 3, 10), exceeds_limit("20%", 3, 10)
    (False, True)
    """
    if not (number := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", limit.strip())):
        raise DataError(f"--max-failures: found {limit!r}, expected a number of images or a share such as '2%'")
    max_failures = float(number[1])
    return n_failed * 100 > max_failures * n_images if number[2] else n_failed > max_failures


def write_outcomes(path: Path, outcomes_file: str | Path) -> None:
    """Write the table of outcomes as CSV.

    Raises
    ------
    DataError
        the file cannot be written.
    """
    table = read_table(Path(outcomes_file), "write it again with 'featx extract'")
    try:
        spreadsheets.write_csv(path, table)
    except OSError as error:
        raise DataError(
            f"--outcomes: {path} cannot be written ({error.strerror}); the extraction is complete, its outcomes are in "
            f"{outcomes_file}"
        ) from error
