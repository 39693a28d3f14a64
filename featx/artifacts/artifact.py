"""Saved models: a body, opened only after its header and checksum have been verified.

A head's body is ``model.joblib``, a plain scikit-learn object that loads without featx; a network's is
``model.safetensors``; an ensemble's is ``ensemble.json``, which holds its members' names and its combiner. The header
contains golden inputs with the outputs of the model when it was saved, which are computed again at loading.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from featx.artifacts.header import (
    BODY_FILES,
    GoldenInputs,
    Header,
    compare_versions,
    find_sibling_run,
    provenance,
    read_header,
    write_header,
)
from featx.artifacts.outputs import predict_outputs
from featx.errors import ArtifactError, FeatxError
from featx.file_names import is_folder_name
from featx.files.atomic import file_sha256
from featx.files.parsing import ParseError, parse_json, validate_as
from featx.study.run_spec import REMAKE_COMMANDS
from featx.tables.ids import Kind

GOLDEN_TOLERANCE = 1e-6
# The tap of a fine-tuned network that gives its predictions.
OUTPUT_TAP = "predictions"


class EnsembleFields(BaseModel):
    """The fields of every ``ensemble.json`` besides those of its combiner."""

    method: str
    members: dict[str, str]


def check_golden(body: Path, header: Header, outputs: NDArray[np.floating], tolerance: float) -> None:
    """Compare a model's outputs for its golden inputs with those stored in its header.

    Parameters
    ----------
    outputs
        Outputs (g, k) of the loaded model.
    tolerance
        Largest absolute difference that is accepted.

    Raises
    ------
    ArtifactError
        The outputs differ by more than `tolerance`.
    """
    # The header's validator has checked this.
    assert header.golden is not None
    expected_outputs = np.asarray(header.golden.outputs)
    difference = (
        float(np.abs(outputs - expected_outputs).max()) if outputs.shape == expected_outputs.shape else float("inf")
    )
    # Not '>', so that nan is refused too.
    if not difference <= tolerance:
        raise ArtifactError(
            f"{body} gives other outputs for its golden inputs than when it was saved (difference {difference:.2g}); "
            f"{compare_versions(header)}"
        )


def _remake_hint(header: Header) -> str:
    return f"make the run again with {REMAKE_COMMANDS[header.kind]!r}"


def verify_body(folder: Path, header: Header) -> Path:
    """Return the path of a model's body after its checksum has been verified.

    Raises
    ------
    ArtifactError
        The body is missing, cut short or changed.
    """
    body = folder / header.body
    if not body.is_file():
        raise ArtifactError(f"{folder} has a header and no {header.body}; {_remake_hint(header)}")
    if (sha256 := file_sha256(body)) != header.body_sha256:
        raise ArtifactError(
            f"{body} does not match its header (sha256 {sha256[:12]}…, expected {header.body_sha256[:12]}…): "
            f"it was cut short or changed; {_remake_hint(header)}"
        )
    return body


def write_head(folder: Path, model: Any, header: dict[str, Any], golden_x: NDArray[np.float32]) -> None:
    """Write ``model.joblib`` and its header into `folder`.

    Parameters
    ----------
    model
        A fitted scikit-learn Pipeline.
    header
        Fields of the header except `Header.kind`, `Header.golden` and checksums.
    golden_x
        Golden inputs (g, d).
    """
    import joblib

    body = folder / BODY_FILES["head"]
    kind: Kind = "numbers" if header.get("numbers") else "labels" if header.get("labels") else "classes"
    joblib.dump(model, body, compress=3)
    golden = GoldenInputs.from_arrays(golden_x, predict_outputs(model, golden_x, kind))
    write_header(folder, kind="head", golden=golden, **header)


def load_head(folder: Path, header: Header) -> Any:
    """Return the scikit-learn object of a head after its checksum and golden inputs have been verified.

    ``model.joblib`` is unpickled, which runs any code that its author put there; the header's checksum shows only that
    the file is the one that the header was written for.

    Raises
    ------
    ArtifactError
        The body does not match its header, or gives other outputs for its golden inputs.
    """
    import joblib

    return load_verified(verify_body(folder, header), header, joblib.load)


def load_verified(body: Path, header: Header, read_body: Callable[[Path], Any]) -> Any:
    """Return the model in a head's body after its golden inputs have been verified.

    Parameters
    ----------
    read_body
        Function that opens the body; ``joblib.load`` runs any code in it.

    Raises
    ------
    ArtifactError
        The body cannot be loaded, or the model gives other outputs for its golden inputs.
    """
    # The header's validator has checked this.
    assert header.golden is not None
    try:
        model = read_body(body)
        outputs = predict_outputs(model, header.golden.decode_inputs(header.n_features), header.prediction_kind)
    except FeatxError:
        raise
    # Unpickling may raise anything if packages are missing or of other versions.
    except Exception as error:
        raise ArtifactError(
            f"{body} cannot be loaded ({type(error).__name__}: {error}); {compare_versions(header)}"
        ) from error
    check_golden(body, header, outputs, GOLDEN_TOLERANCE)
    return model


def write_ensemble(
    folder: Path, members: Sequence[Path], header: dict[str, Any], kind: Literal["ensemble", "smoothed"] = "ensemble"
) -> None:
    """Write the header of an ensemble, or of a smoothed run, whose body is in `folder`.

    Parameters
    ----------
    members
        Folders of the members, which give the header its embeddings.
    header
        The other fields of the header.
    kind
        Kind of the run.
    """
    headers = [read_header(member)[1] for member in members]
    embeddings = tuple(dict.fromkeys(embedding for header in headers for embedding in header.embeddings))
    write_header(
        folder,
        kind=kind,
        n_features=sum(embedding.n_features for embedding in embeddings),
        embeddings=embeddings,
        **header,
        **provenance([]) | {"train_ids_sha256": headers[0].train_ids_sha256},
    )


def read_ensemble_body(folder: Path, header: Header) -> dict[str, Any]:
    """Return the verified body of an ensemble: its method, members (name → SHA-256 of the body) and combiner's fields.

    Raises
    ------
    ArtifactError
        The body does not match its header or has other fields, or a member's name is not a plain folder name.
    """
    file = verify_body(folder, header)
    try:
        body: dict[str, Any] = parse_json(file.read_bytes())
        members = validate_as(body, EnsembleFields).members
    except ParseError as error:
        raise ArtifactError(f"{file} {error}; make the ensemble again with 'featx ensemble --force'") from error
    if invalid_names := [name for name in members if not is_folder_name(name)]:
        raise ArtifactError(
            f"{file} names the member {invalid_names[0]!r}, expected the name of a folder beside {folder}"
        )
    return body


def read_member_headers(folder: Path, header: Header, parents: tuple[Path, ...] = ()) -> dict[Path, Header]:
    """Return the folders and headers of an ensemble's members, those of nested ensembles included, each once.

    Parameters
    ----------
    parents
        Folders of the ensembles that contain this one.

    Raises
    ------
    ArtifactError
        A member is missing, has changed, or is the ensemble itself.
    """
    headers = {}
    for name, sha256 in read_ensemble_body(folder, header)["members"].items():
        member_folder = find_sibling_run(folder, name)
        if member_folder in {folder, *parents}:
            raise ArtifactError(
                f"{member_folder} contains itself as a member; run 'featx ensemble' again with other '--members'"
            )
        if not member_folder.is_dir():
            raise ArtifactError(f"member {name!r} of {folder} is not beside it; copy the ensemble with its members")
        member = read_header(member_folder)[1]
        if member.body_sha256 != sha256:
            raise ArtifactError(f"member {name!r} of {folder} has changed since; run 'featx ensemble' again")
        headers[member_folder] = member
        if member.kind in {"ensemble", "smoothed"}:
            headers |= read_member_headers(member_folder, member, (*parents, folder))
    return headers
