"""Stored results of attacks for evaluations and reports; results of runs or images that have changed are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx.errors import FeatxError, IncompleteError
from featx.file_names import file_name
from featx.robustness.attack_results import AttackedRuns
from featx.robustness.attack_statistics import AttackedUnits
from featx.robustness.attack_storage import (
    ATTACKS_VERSION,
    FOLDER,
    AttackFiles,
    StoredAttack,
    stored_attacks,
    stored_checks,
)
from featx.robustness.attack_tables import AttackTable
from featx.robustness.robustness_evaluation import RobustnessEvaluation
from featx.robustness.run_keys import run_key
from featx.study.run_settings import describe_runs
from featx.study.study import Study


@dataclass(frozen=True, eq=False)
class StoredAttacks:
    """Stored results of the attacks on one target.

    Attributes
    ----------
    evaluation
        Robustness of the runs.
    attacked
        The tables of all attacks.
    """

    evaluation: RobustnessEvaluation
    attacked: AttackedRuns


def read_attacks(study: Study, target: str, part: str = "val") -> StoredAttacks | None:
    """Return the stored results of the attacks on a target; None if there are none that can be shown.

    If several samples of images were attacked, those of the largest sample are returned. What is left out is in the
    notes of the evaluation.

    Parameters
    ----------
    study
        The study.
    target
        Name of the target.
    part
        ``val`` or ``test``.
    """
    stored_files = _StoredFiles.read(study, target, part)
    if not stored_files.tables:
        return None
    groups: dict[tuple[str, ...], list[tuple[StoredAttack, AttackTable]]] = {}
    for content, table in sorted(stored_files.tables, key=lambda item: item[0].written):
        groups.setdefault(tuple(map(str, table.ids)), []).append((content, table))
    largest_group = max(groups.values(), key=lambda group: (len(group[0][1].ids), group[-1][0].written))
    notes = [
        *stored_files.notes,
        *_note(len(stored_files.tables) - len(largest_group), "on other images are not shown"),
    ]
    tables = _merge([table for _, table in largest_group])
    attacked_runs = AttackedRuns(
        study.labels(target).kind,
        stored_files.labels,
        tables,
        list(dict.fromkeys(table.attack for table in tables)),
        AttackedUnits(len(tables[0].ids), study.groups(tables[0].ids)),
    )
    run_keys, pixels_keys = stored_files.keys, {content.pixels_key for content, _ in largest_group}
    checks = [
        outcomes
        for outcomes in stored_checks(_folder(study, target))
        if run_keys.get(outcomes.run) == outcomes.key and outcomes.pixels_key in pixels_keys
    ]
    return StoredAttacks(attacked_runs.evaluate(target, largest_group[-1][0], checks, notes), attacked_runs)


def attack_notes(study: Study, target: str, part: str = "val") -> list[str]:
    """Return notes about stored results that are out of date, if nothing else is stored."""
    return _StoredFiles.read(study, target, part).notes


def _folder(study: Study, target: str) -> Path:
    return study.folder / FOLDER / file_name(target)


@dataclass(frozen=True, eq=False)
class _StoredFiles:
    """The stored tables whose images and runs are unchanged.

    Attributes
    ----------
    tables
        Descriptions and tables.
    labels, keys
        Name of a current run → label, and key.
    notes
        Notes about tables that are left out.
    """

    tables: Sequence[tuple[StoredAttack, AttackTable]]
    labels: Mapping[str, str]
    keys: Mapping[str, str]
    notes: list[str]

    @classmethod
    def read(cls, study: Study, target: str, part: str) -> "_StoredFiles":
        files = stored_attacks(_folder(study, target))
        if not files:
            return cls([], {}, {}, [])
        runs = study.comparable_runs(target)
        keys = {run.name: run_key(run) for run in runs}
        labels = {name: item.label for name, item in describe_runs({run.name: run.spec for run in runs}).items()}
        stored_tables = [_read(item) for item in files]
        part_tables = [item for item in stored_tables if item is not None and item[0].part == part]
        current_tables = [(content, _current_rows(table, content, keys)) for content, table in part_tables]
        shown_tables = [
            (content, table)
            for content, table in current_tables
            if table and _has_current_images(study, target, table, part)
        ]
        notes = _note(stored_tables.count(None), "cannot be read; run 'featx attack' to make them again")
        notes += _note(
            len(current_tables) - len(shown_tables), "on runs or images that have changed since are not shown"
        )
        return cls(shown_tables, labels, keys, notes)


def _note(n: int, text: str) -> list[str]:
    return [f"stored results of {n} {'attack' if n == 1 else 'attacks'} {text}"] if n else []


def _read(files: AttackFiles) -> tuple[StoredAttack, AttackTable] | None:
    """Return a stored attack; None if it is damaged."""
    try:
        return files.read()[0], AttackTable.read(files)
    except IncompleteError:
        return None


def _current_rows(table: AttackTable, content: StoredAttack, keys: Mapping[str, str]) -> AttackTable | None:
    """Return the table with the rows of runs that are unchanged; None if the attacked run has changed."""
    unchanged_runs = {run for run, key in content.runs.items() if keys.get(run) == key}
    if content.version != ATTACKS_VERSION or table.source not in unchanged_runs:
        return None
    return replace(table, rows={run: rows for run, rows in table.rows.items() if run in unchanged_runs})


def _has_current_images(study: Study, target: str, table: AttackTable, part: str) -> bool:
    """Return whether all images of a table are in the part and have their contents and true values of that time."""
    current_ids = set(map(str, study.ids(part)))
    if not current_ids.issuperset(map(str, table.ids)):
        return False
    try:
        digests = study.manifest.take(table.ids).digests
    except FeatxError:
        return False
    rows = next(iter(table.rows.values()))
    if list(digests) != rows["digest"].tolist():
        return False
    # The true values of test images are sealed.
    return part == "test" or list(study.labels(target).take(table.ids).texts().values()) == rows["true"].tolist()


def _merge(tables: Sequence[AttackTable]) -> list[AttackTable]:
    """Return one table for each attack on each run, with the latest predictions of every run."""
    merged_tables: dict[tuple[str, str], AttackTable] = {}
    for table in tables:
        key = table.attack.spec.fingerprint(), table.source
        earlier_table = merged_tables.get(key, table)
        merged_tables[key] = replace(
            table,
            rows={**earlier_table.rows, **table.rows},
            has_gradient={**earlier_table.has_gradient, **table.has_gradient},
        )
    return list(merged_tables.values())
