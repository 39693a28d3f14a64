"""Removal and renaming of finished runs."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import DataError, FeatxError
from featx.file_names import KEY_SUFFIX, file_name
from featx.files.atomic import private_name
from featx.files.seals import HEADER_FILE, read_sealed, write_sealed
from featx.study.run_folder import RunFolder

RENAMING_NEXT_STEP = "no run is renamed: remove the file, or write it again with 'featx evaluate --final'"


@dataclass(frozen=True)
class RemovedRuns:
    """Result of the removal of runs.

    Attributes
    ----------
    removed
        Names of the removed runs.
    n_bytes
        Their size in bytes.
    stale_ensembles
        Ensemble that stays → its members that were removed; it is stale, and its model can no longer be loaded.
    """

    removed: list[str]
    n_bytes: int
    stale_ensembles: dict[str, list[str]]


def ensembles_of(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """Return the other ensembles in the folders of some runs → their members among these runs."""
    names = {run.path.resolve() for run in runs}
    folders = {run.path.parent for run in runs}
    ensembles = [
        RunFolder(header.parent) for folder in folders for header in sorted(folder.glob(f"[!.]*/{HEADER_FILE}"))
    ]
    members_by_ensemble: dict[str, list[str]] = {}
    for ensemble in ensembles:
        if ensemble.path.resolve() in names:
            continue
        members = [name for name in _member_names(ensemble) if (ensemble.path.parent / name).resolve() in names]
        if members:
            members_by_ensemble[ensemble.name] = members
    return members_by_ensemble


def _member_names(run: RunFolder) -> list[str]:
    """Return the members of an ensemble; none for other runs, and for those whose spec cannot be read."""
    try:
        return list(run.members)
    except FeatxError:
        return []


def remove_runs(runs: Sequence[RunFolder]) -> RemovedRuns:
    """Remove the folders of runs; a folder disappears in one step."""
    stale_ensembles = ensembles_of(runs)
    n_bytes = sum(file.stat().st_size for run in runs for file in run.path.rglob("*") if file.is_file())
    for run in runs:
        private_folder = run.path.parent / private_name(run.name)
        run.path.rename(private_folder)
        shutil.rmtree(private_folder)
    return RemovedRuns([run.name for run in runs], n_bytes, stale_ensembles)


def rename_run(run: RunFolder, new_name: str) -> RunFolder:
    """Rename a run, and return it; the key at the end of its name stays, by which ``featx fit`` finds it again.

    Test scores of the run are kept; the log of openings, which is never rewritten, has the old name.

    Raises
    ------
    DataError
        The new name is taken, or the run is a member of an ensemble, which knows it by its name.
    IncompleteError
        A file of test scores, which name the run, cannot be read; nothing is renamed.
    """
    key = KEY_SUFFIX.search(run.name)
    path = run.path.with_name(file_name(new_name, key.group()[1:]) if key else file_name(new_name))
    if path.exists():
        raise DataError(f"there is a run {path.name!r} already; choose another name")
    if ensembles := ensembles_of([run]):
        raise DataError(
            f"{run.name} is a member of {len(ensembles)} ensembles, which know it by its name: {', '.join(ensembles)}; "
            "remove these first ('featx runs rm'), rename the run, and run 'featx ensemble' again"
        )
    files = sorted(path.parent.glob("final-*.json"))
    final_scores = {file: read_sealed(file, RENAMING_NEXT_STEP) for file in files}
    run.path.rename(path)
    for file, fields in final_scores.items():
        write_sealed(file, _with_name(fields, run.name, path.name))
    return RunFolder(path)


def _with_name(value: Any, old_name: str, new_name: str) -> Any:
    """Return values of JSON with one name in place of another, in keys and texts."""
    if isinstance(value, str):
        return value.replace(old_name, new_name)
    if isinstance(value, list):
        return [_with_name(item, old_name, new_name) for item in value]
    if isinstance(value, dict):
        return {
            _with_name(key, old_name, new_name): _with_name(item, old_name, new_name) for key, item in value.items()
        }
    return value
