"""Export cards: JSON files beside exported models that describe input, output and agreement with featx."""

from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError

from featx.artifacts.header import Header
from featx.errors import ArtifactError
from featx.files.atomic import file_sha256
from featx.specs.base import Spec

Format = Literal["onnx", "skops", "joblib"]
FORMAT_BY_SUFFIX: dict[str, Format] = {".onnx": "onnx", ".skops": "skops", ".joblib": "joblib"}


class Parity(Spec):
    """Agreement of an exported model with its run, on rows that the run was not trained on.

    Attributes
    ----------
    rows
        Names of the parts that the rows belong to.
    n
        Number of rows.
    max_abs_difference
        Largest absolute difference from the predictions of the run.
    tolerance
        Tolerated absolute difference.
    n_rows_above_tolerance
        Number of rows with a larger difference.
    reason
        Known cause of differences; empty by default.
    n_other_labels
        Number of rows for which the exported model predicts another class or other labels than the run; None for
        numbers.
    """

    rows: str
    n: int
    # The second name of a field is that of earlier cards.
    max_abs_difference: float = Field(validation_alias=AliasChoices("max_abs_difference", "largest"))
    tolerance: float
    n_rows_above_tolerance: int = Field(validation_alias=AliasChoices("n_rows_above_tolerance", "n_beyond"))
    reason: str = ""
    n_other_labels: int | None = None


class ExportCard(Spec):
    """Description of an exported model.

    Attributes
    ----------
    run
        Name of the exported run.
    file_format, sha256
        Format and SHA-256 of the model's file.
    inputs
        Input name → type, shape and preprocessing.
    outputs
        Output name → shape, kind and names of the columns.
    parity
        Agreement with the run, measured at export.
    header
        Header of the run.
    source_parity
        Agreement of a run that was refitted in fp32 (`header.refit` names its source) with its source on val rows; None
        for other runs, or if the source was removed.
    """

    run: str
    file_format: Format
    sha256: str
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, Any]
    parity: Parity
    header: Header
    source_parity: Parity | None = None


def card_file(model: Path) -> Path:
    """Return the path of an exported model's export card."""
    return model.with_name(f"{model.name}.json")


def is_exported(path: Path) -> bool:
    """Return whether a file is an exported model, which has an export card; the model of a run has a header."""
    return not path.is_dir() and (path.suffix == ".skops" or card_file(path).is_file())


def read_export_card(model: Path) -> ExportCard:
    """Return the export card of an exported model after the model's checksum has been verified.

    Raises
    ------
    ArtifactError
        The card is missing or unreadable, its format is not that of the file's suffix, or the model was cut short or
        changed.
    """
    file = card_file(model)
    if not model.is_file() or not file.is_file():
        raise ArtifactError(f"expected {model} with {file.name} beside it; write both with 'featx export'")
    try:
        card = ExportCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(map(str, first_error["loc"]))
        raise ArtifactError(f"{file} is not an export card ({key}: {first_error['msg']})") from error
    if (suffix_format := FORMAT_BY_SUFFIX.get(model.suffix)) != card.file_format:
        raise ArtifactError(
            f"{file} says that {model.name} has format {card.file_format!r}, its suffix says "
            f"{suffix_format or model.suffix!r}; it is not opened: write both with 'featx export'"
        )
    if (sha256 := file_sha256(model)) != card.sha256:
        raise ArtifactError(
            f"{model} does not match its export card (sha256 {sha256[:12]}…, expected {card.sha256[:12]}…): it was cut "
            "short or changed; export the run again"
        )
    return card
