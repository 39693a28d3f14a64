"""Who takes part in a vote, on which rows, and what these rows cannot tell."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from featx.ensembles.cross_fitting import CrossFitting
from featx.errors import AlignmentError, DataError, IncompleteError
from featx.specs.ensembling import EnsembleSpec
from featx.study.run_folder import RunFolder
from featx.study.run_warnings import RunWarning
from featx.study.study import Study
from featx.tables.predictions import Answered

FEWEST_ROWS = 60  # below which two runs differ surely only if a tenth of the rows speak for one and none for the other


def candidates_for(study: Study, target: str, spec: EnsembleSpec) -> list[RunFolder]:
    """Return the runs that could take part: ensembles only where they are named.

    Raises
    ------
    IncompleteError
        one is damaged, and might be a member.
    """
    if not spec.members and (damaged := study.damaged()):
        raise IncompleteError(f"{damaged[0].damage}, or name the members with '--members'")
    return [run for run in study.runs(target, spec.members) if spec.members or not run.is_ensemble]


def equal_runs(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return the runs whose answers are those of another one on all rows, each with that one: the first by name.

    Searches with different numbers of trials make such runs when they choose the same setting. Both in one ensemble
    would count twice.
    """
    first: dict[str, str] = {}
    equal: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: run.name):
        frame = run.answers.to_frame().drop(columns="fold").sort_values(["part", "id"])
        answers = hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()
        if first.setdefault(answers, run.name) != run.name:
            equal[run.name] = first[answers]
    return equal


def rows_that_choose(runs: Sequence[RunFolder]) -> list[Answered]:
    """Return what runs say of val, or where there is no val split of the out-of-fold rows.

    Raises
    ------
    DataError
        some have no such rows, while others have.
    AlignmentError
        they do not all have the same.
    """
    tables = [run.chooser() for run in runs]
    parts = [str(table.part[0]) if len(table.ids) else "none" for table in tables]
    for run, table, part in zip(runs, tables, parts, strict=True):
        wanted = "val" if "val" in parts else "out-of-fold"
        if part != parts[parts.index("val") if "val" in parts else 0] or part == "none":
            raise DataError(f"{run.name} has no {wanted} rows, as other members have; make it again with '--force'")
        if odd := set(table.ids) ^ set(tables[0].ids):
            raise AlignmentError(
                f"{runs[0].name} and {run.name} do not answer the same {part} rows: {len(odd)} have one answer only, "
                f"first {min(odd)!r}; make the runs again with '--force'"
            )
    return tables


def findings(evidence: CrossFitting, part: str) -> list[RunWarning]:
    """Return what the rows that choose cannot tell."""
    found, facts = [], evidence.facts
    if len(facts) < FEWEST_ROWS:
        found.append(
            RunWarning(
                "few rows",
                f"{len(facts)} {part} rows cannot tell these runs apart: two differ surely only where 6 rows or more "
                "speak for one and none for the other; give val more rows",
            )
        )
    if facts.kind == "numbers":
        return found
    had = facts.y.sum(axis=0) if facts.kind == "labels" else np.bincount(facts.y, minlength=facts.n_outputs)
    if absent := [name for name, n in zip(facts.names, had, strict=True) if not n]:
        shown = ", ".join(map(repr, absent))
        text = f"no {part} row has {shown}: nothing is known of how runs do there; stratify the split"
        found.append(RunWarning("class absent", text))
    return found
