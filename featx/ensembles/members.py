"""Candidate members of an ensemble, their predictions for the selection rows, and warnings about these rows."""

import hashlib
from collections.abc import Sequence

import pandas as pd

from featx.ensembles.cross_fitting import CrossFitting
from featx.errors import AlignmentError, DataError, IncompleteError
from featx.metrics.collapse import collapse_flags
from featx.specs.ensembling import EnsembleSpec
from featx.study.run_folder import RunFolder
from featx.study.run_warnings import TRAIN_USED, RunWarning
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions

# With fewer rows, two runs differ significantly only if a tenth of the rows or more favour one run and none the other.
MIN_ROWS_TO_COMPARE = 60


def find_candidates(study: Study, target: str, spec: EnsembleSpec) -> list[RunFolder]:
    """Return the candidate members of an ensemble; other ensembles are candidates only if they are named.

    Raises
    ------
    DataError
        A named run is a smoothed one.
    IncompleteError
        A run that may be a candidate is damaged.
    """
    if not spec.members and (damaged_runs := study.damaged()):
        raise IncompleteError(
            f"{damaged_runs[0].damage}, or name the members: 'members' in [[ensemble]], or 'featx ensemble --members'"
        )
    runs = study.runs(target, spec.members)
    if spec.members and (smoothed_names := [run.name for run in runs if run.kind == "smoothed"]):
        raise DataError(
            f"{smoothed_names[0]} is a smoothed run, which is no member of an ensemble; smooth the ensemble"
        )
    return [run for run in runs if spec.members or run.kind in {"head", "network"}]


def find_duplicates(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return the runs with the same predictions as another run on all rows: name → name of the first such run.

    Searches with different numbers of trials give such runs if they choose the same setting. In an ensemble, both would
    count twice.
    """
    first_by_digest: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: run.name):
        frame = run.predictions.to_frame().drop(columns="fold").sort_values(["part", "id"])
        digest = hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()
        if first_by_digest.setdefault(digest, run.name) != run.name:
            duplicates[run.name] = first_by_digest[digest]
    return duplicates


def find_left_out(study: Study, target: str, spec: EnsembleSpec, candidates: Sequence[RunFolder]) -> dict[str, str]:
    """Return the candidates that do not vote: name → why, as the end of a sentence.

    They are runs with the predictions of another one, and, unless they are named and if two other runs remain, runs
    that predict the same for all selection rows, and runs on networks that may have learnt these rows.
    """
    reasons = {
        name: f"gives the same predictions as {original}: they count once"
        for name, original in find_duplicates(candidates).items()
    }
    if spec.members:
        return reasons
    truth, distinct_runs = study.labels(target), [run for run in candidates if run.name not in reasons]
    flags = {run.name: collapse_flags(truth, run.selection_predictions()) for run in distinct_runs}
    collapse_reasons = {
        name: f"predicts {run_flags[0]} for all rows and does not vote; name it in 'members' to count it"
        for name, run_flags in flags.items()
        if run_flags
    }
    leak_reasons = {
        run.name: "uses a network that may have learnt the train rows, and does not vote without val rows; name it in "
        "'members' to count it"
        for run in distinct_runs
        if TRAIN_USED in run.flags
    }
    # At least two members remain; runs that collapsed are left out first.
    if len(distinct_runs) - len(leak_reasons | collapse_reasons) > 1:
        return reasons | leak_reasons | collapse_reasons
    if len(distinct_runs) - len(collapse_reasons) > 1:
        return reasons | collapse_reasons
    return reasons


def selection_tables(runs: Sequence[RunFolder]) -> list[AnyPredictions]:
    """Return the runs' predictions for the selection rows: val, or without a val split the out-of-fold rows.

    Raises
    ------
    DataError
        A run has no predictions for these rows, and others have.
    AlignmentError
        The runs have predictions for different rows.
    """
    tables = [run.selection_predictions() for run in runs]
    parts = [str(table.part[0]) if len(table.ids) else "none" for table in tables]
    for run, table, part in zip(runs, tables, parts, strict=True):
        expected_part = "val" if "val" in parts else "out-of-fold"
        if part != parts[parts.index("val") if "val" in parts else 0] or part == "none":
            raise DataError(
                f"{run.name} has no predictions for {expected_part} rows, as other members have; make it again "
                f"with {run.remake_command!r}"
            )
        if unmatched_ids := set(table.ids) ^ set(tables[0].ids):
            raise AlignmentError(
                f"{runs[0].name} and {run.name} have predictions for different {part} rows: {len(unmatched_ids)} rows "
                f"have only one, first {min(unmatched_ids)!r}; make both again, as with 'featx fit --force'"
            )
    return tables


def selection_warnings(selection: CrossFitting, part: str) -> list[RunWarning]:
    """Return warnings if the selection rows are too few, or a class or label does not occur in them."""
    warnings, targets = [], selection.targets
    if len(targets) < MIN_ROWS_TO_COMPARE:
        text = (
            f"{len(targets)} {part} rows are too few to compare these runs: two runs differ significantly only if 6 "
            "rows or more favour one and none the other; put more rows in val"
        )
        warnings.append(RunWarning("few rows", text))
    if absent_names := [name for name, count in targets.counts.items() if not count]:
        names_text = ", ".join(map(repr, absent_names))
        text = f"no {part} row has {names_text}: how runs perform there is unknown; stratify the split"
        warnings.append(RunWarning("class absent", text))
    return warnings
