"""What stands beside an exported model: what it is, what it takes and gives, and how far it differs from featx."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from featx.artifacts.artifact import Header
from featx.errors import ArtifactError
from featx.files.atomic import sha256_of
from featx.specs.base import Spec

Format = Literal["onnx", "skops", "joblib"]
FORMATS: dict[str, Format] = {".onnx": "onnx", ".skops": "skops", ".joblib": "joblib"}  # by a file's ending


class Parity(Spec):
    """How an exported model answers rows that the run did not learn from.

    Attributes
    ----------
    rows
        Which, and how many, n.
    largest
        Largest absolute difference from the run's own answers.
    tolerance, n_beyond
        And how many rows differ by more than that.
    why
        What makes them differ, where it is known beforehand.
    """

    rows: str
    n: int
    largest: float
    tolerance: float
    n_beyond: int
    why: str = ""


class ExportCard(Spec):
    """All that is to be known of an exported model.

    Attributes
    ----------
    run
        Its name.
    file_format, sha256
        Of the model's file.
    inputs
        Name → what to put there.
    outputs
        Name → what comes out.
    parity
        As it was measured when it was written.
    header
        The run's.
    """

    run: str
    file_format: Format
    sha256: str
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, Any]
    parity: Parity
    header: Header


def card_file(model: Path) -> Path:
    """Return where a model's passport stands."""
    return model.with_name(f"{model.name}.json")


def is_exported(path: Path) -> bool:
    """Whether a file is meant to have a passport; what a run folder holds has a header."""
    return card_file(path).is_file() or path.suffix == ".skops"


def read_export_card(model: Path) -> ExportCard:
    """Return a model's passport, once the model is what it says.

    Raises
    ------
    ArtifactError
        there is none, it cannot be read, it names another format than the file's ending, or the model was cut short or
        changed.
    """
    file = card_file(model)
    if not model.is_file() or not file.is_file():
        raise ArtifactError(f"expected {model} with {file.name} beside it; write both with 'featx export'")
    try:
        found = ExportCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ArtifactError(f"{file} is not a passport ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error
    if (by_ending := FORMATS.get(model.suffix)) != found.file_format:
        raise ArtifactError(
            f"{file} says that {model.name} has format {found.file_format!r}, its ending says "
            f"{by_ending or model.suffix!r}; it is not opened: write both with 'featx export'"
        )
    if (now := sha256_of(model)) != found.sha256:
        raise ArtifactError(
            f"{model} does not match its passport (sha256 {now[:12]}…, expected {found.sha256[:12]}…): it was cut "
            "short or changed; export the run again"
        )
    return found
