"""Sealed files with the test scores of the last opening of the test split."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from featx.errors import IncompleteError
from featx.evaluation.evaluation_table import Evaluation
from featx.file_names import file_name
from featx.files.atomic import file_sha256
from featx.files.seals import SEAL, read_sealed, write_sealed
from featx.study.run_folder import PREDICTIONS, RunFolder
from featx.study.study import Study


class FinalTable(BaseModel):
    """Content of a ``final-*.json`` file.

    Attributes
    ----------
    predictions_sha256
        Run name → SHA-256 of the run's predictions.
    evaluation
        The evaluation, as `dataclasses.asdict` writes it.
    """

    predictions_sha256: dict[str, str]
    evaluation: dict[str, Any]


def write_final(study: Study, runs: Sequence[RunFolder], evaluation: Evaluation) -> None:
    """Write the test scores of the current opening of the test split."""
    digests = {run.name: file_sha256(run.path / PREDICTIONS) for run in runs}
    opening = study.openings(evaluation.target)[-1][SEAL]
    fields = {"predictions_sha256": digests, "opening": opening, "evaluation": asdict(evaluation)}
    write_sealed(_final_file(study, evaluation.target), fields)


def read_last_final(study: Study, target: str) -> Evaluation | None:
    """Return the test scores of the last opening; None if there are none for the current data and runs."""
    return read_final(study, target)[0]


def read_final(study: Study, target: str) -> tuple[Evaluation | None, str]:
    """Return the result of `read_last_final`, and the reason why its file cannot be read, or an empty text."""
    if not (study.knows_copies and any(study.folder.glob("final-*.json"))):
        return None, ""
    file = _final_file(study, target)
    if not file.is_file():
        return None, ""
    try:
        table = read_sealed(file, "run 'featx evaluate --final' again, or remove the file", FinalTable)
    except IncompleteError as error:
        return None, str(error)
    for name, sha256 in table.predictions_sha256.items():
        predictions = study.folder / name / PREDICTIONS
        if not predictions.is_file() or file_sha256(predictions) != sha256:
            return None, ""
    try:
        return Evaluation.from_dict(table.evaluation), ""
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        return None, f"{file} has unexpected content ({error}); run 'featx evaluate --final' again, or remove the file"


def _final_file(study: Study, target: str) -> Path:
    return study.folder / f"{file_name(f'final-{target}', study.final_state(target)[:8])}.json"
