"""Certificates of a smoothed run on disk: its body, ``smoothing.json``, and ``certificates.parquet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.artifacts.artifact import read_ensemble_body
from featx.artifacts.header import BODY_FILES, Header
from featx.errors import ArtifactError
from featx.files.atomic import file_sha256, read_table, write_json, write_table
from featx.files.parsing import ParseError, validate_as
from featx.specs.smoothing import SmoothingSpec

if TYPE_CHECKING:
    import pandas as pd

CERTIFICATES = "certificates.parquet"
# Columns: id, class that is certified, copies with this prediction, all copies, and the radius, nan for an abstention.
COLUMNS = ("id", "prediction", "n_top", "n", "radius")


def write_certificates(
    folder: Path, members: dict[str, str], spec: SmoothingSpec, certificates: "pd.DataFrame"
) -> None:
    """Write the certificates and the body of a smoothed run.

    Parameters
    ----------
    folder
        Folder of the run.
    members
        Name of the smoothed run → SHA-256 of its body.
    spec
        The noise.
    certificates
        Table with `COLUMNS`.
    """
    write_table(folder / CERTIFICATES, certificates)
    body = {
        "method": "smoothing",
        "members": members,
        "smoothing": spec.settings,
        "certificates_sha256": file_sha256(folder / CERTIFICATES),
    }
    write_json(folder / BODY_FILES["smoothed"], body)


def read_smoothing(folder: Path, header: Header) -> tuple[str, SmoothingSpec]:
    """Return the name of the run that a smoothed one is made of, and the noise.

    Raises
    ------
    ArtifactError
        The body does not match its header, or has other fields.
    """
    body = read_ensemble_body(folder, header)
    (base,) = body["members"]
    try:
        return base, validate_as({"run": base, **body["smoothing"]}, SmoothingSpec)
    except (ParseError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / header.body} has unexpected content ({error}); make the run again") from error


def read_certificates(folder: Path, header: Header) -> "pd.DataFrame":
    """Return the certificates of a smoothed run, a table with `COLUMNS`, after its checksum has been verified.

    Raises
    ------
    ArtifactError, IncompleteError
        A file is missing or was changed.
    """
    body: dict[str, Any] = read_ensemble_body(folder, header)
    sha256 = str(body.get("certificates_sha256"))
    return read_table(folder / CERTIFICATES, "write it again with 'featx smooth --force'", COLUMNS, sha256)
