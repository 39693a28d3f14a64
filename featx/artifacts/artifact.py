"""A model and its passport: a body, and a JSON header that is read and checked before the body is opened.

A head's body is ``model.joblib``, a plain scikit-learn object that loads without featx; a network's is
``model.safetensors``; an ensemble's is ``ensemble.json``, which names its members and holds what combines them. The
header carries golden inputs and what the model answered to them when it was made; they are replayed at loading.
"""

import base64
import glob
import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from featx.artifacts.outputs import predict_outputs
from featx.errors import ArtifactError, FeatxError
from featx.file_names import is_folder_name
from featx.files.atomic import sha256_of
from featx.files.parsing import ParseError, checked, parse_json
from featx.files.seals import has_valid_seal, write_sealed
from featx.metrics.conformal import ConformalSpec
from featx.specs.base import Spec
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.finetuning import NetworkSpec
from featx.study.run_folder import PREDICTIONS
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Ids, Kind

FORMAT = 2
SEALED_FROM = 2  # the first format whose headers always have a seal
HEADER = "header.json"
BODIES = {"head": "model.joblib", "network": "model.safetensors", "ensemble": "ensemble.json"}
RECORDED = ("featx", "scikit-learn", "xgboost", "numpy", "joblib", "optuna")
RECORDED_OF_NETWORKS = ("featx", "torch", "torchvision", "timm", "pytorch-lightning", "numpy")
GOLDEN_TOLERANCE = 1e-6
ANSWERS = "answers"  # the layer of a network whose output is what it answers


class EnsembleFields(BaseModel):
    """What every ``ensemble.json`` holds beside the fields of its combiner."""

    method: str
    members: dict[str, str]


class GoldenInputs(Spec):
    """A few inputs and what the model answered.

    Attributes
    ----------
    inputs
        float32 (g, d), little-endian, base64.
    outputs
        (g, k) probabilities, or numbers.
    """

    inputs: str
    outputs: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, x: NDArray[np.float32], proba: NDArray[np.float64]) -> "GoldenInputs":
        """Note what a model answered to `x`."""
        text = base64.b64encode(np.ascontiguousarray(x, dtype="<f4").tobytes()).decode()
        return cls(inputs=text, outputs=tuple(tuple(map(float, row)) for row in proba))

    def fits(self, n_features: int, n_classes: int) -> bool:
        """Whether there is one answer of `n_classes` for each input of `n_features`."""
        n_bytes = len(base64.b64decode(self.inputs))
        return n_bytes == 4 * n_features * len(self.outputs) > 0 and {*map(len, self.outputs)} == {n_classes}

    def x(self, n_features: int) -> NDArray[np.float32]:
        """Return the inputs, (g, d)."""
        return np.frombuffer(base64.b64decode(self.inputs), dtype="<f4").reshape(-1, n_features)


class Header(Spec):
    """What must be known of a model before it is loaded.

    Attributes
    ----------
    format
        Of this header.
    kind, target, classes
        What it is and what it answers: code i means classes[i]; no classes where it answers numbers.
    labels, numbers
        Names of the labels of which it gives the probability, or of the numbers that it answers.
    n_features, embeddings
        d of its input, and the embeddings that stand side by side in it.
    train_ids_sha256
        Of the sorted ids that it learnt from.
    versions, commit, made
        Of the packages, of the working directory's repository ("dirty" where it had changes), and when.
    metrics
        Its scores when it was made.
    body_sha256
        Of the body's file.
    golden
        None for ensembles: their members have their own. Those of networks are made anew each time, and have no inputs.
    network
        Of a fine-tuned network, what it is made of; it takes images and no embeddings.
    decision
        The rule by which the model decides for a class; None for the most probable class.
    conformal
        Of what answers classes or numbers, what prediction sets and intervals are made by.
    files_sha256
        File name → SHA-256 of each file of the run that a score or an answer depends on and that is not written again:
        the body and the predictions. Empty in format 1.
    seal
        Checksum of all the others; None in some headers of format 1.
    """

    added_later: ClassVar[Mapping[str, object]] = {
        "network": None,
        "numbers": [],
        "labels": [],
        "conformal": None,
        "decision": None,
        "files_sha256": {},
        "seal": None,
    }

    format: int = FORMAT
    kind: Literal["head", "network", "ensemble"]
    target: str
    classes: tuple[str, ...] = ()
    n_features: int
    embeddings: tuple[ResolvedEmbedding, ...]
    train_ids_sha256: str
    versions: dict[str, str]
    commit: str | None
    made: str
    metrics: dict[str, Any]
    body_sha256: str
    golden: GoldenInputs | None = None
    network: NetworkSpec | None = None
    numbers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    conformal: ConformalSpec | None = None
    decision: DecisionRule | None = None
    files_sha256: dict[str, str] = Field(default_factory=dict)
    seal: str | None = None

    @property
    def answers(self) -> Kind:
        """What it answers."""
        return "numbers" if self.numbers else "labels" if self.labels else "classes"

    @property
    def names(self) -> tuple[str, ...]:
        """Of what it answers, in the order of the columns."""
        return self.classes or self.labels or self.numbers

    @model_validator(mode="after")
    def _its_numbers_agree(self) -> "Header":
        if (d := sum(one.n_features for one in self.embeddings)) != self.n_features:
            raise ValueError(f"n_features is {self.n_features}, its embeddings have {d}")
        if self.decision is not None and len(self.decision.weights) != len(self.classes):
            raise ValueError("the decision rule does not have one weight for each class")
        if self.kind == "head" and (self.golden is None or not self.golden.fits(self.n_features, len(self.names))):
            raise ValueError("golden inputs are missing or not those of n_features and classes")
        if self.kind == "network" and (self.golden is None or self.network is None):
            raise ValueError("golden outputs, or what the network is made of, are missing")
        return self

    @property
    def body(self) -> str:
        """The body's file name."""
        return BODIES[self.kind]


def provenance(train_ids: Ids, packages: Sequence[str] = RECORDED) -> dict[str, Any]:
    """Return the header's fields that say where a model comes from."""
    return {
        "train_ids_sha256": hashlib.sha256("\n".join(sorted(train_ids)).encode()).hexdigest(),
        "versions": {name: version(name) for name in packages},
        "commit": commit(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """Return the commit of the working directory's repository, "-dirty" appended where it has changes."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def read_header(path: str | Path) -> tuple[Path, Header]:
    """Return the folder of an artifact and its header.

    Parameters
    ----------
    path
        A run folder, or the body or header inside.

    Raises
    ------
    ArtifactError
        there is no header, it cannot be read, was edited, or a newer featx wrote it.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = folder / HEADER
    if not path.exists():
        raise ArtifactError(f"nothing lies at {path}; expected a run folder or its model ('featx evaluate' lists runs)")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} has no {HEADER} beside it; expected a run folder made by featx") from error
    if (newer := _format_of(text)) > FORMAT:
        raise ArtifactError(f"{file} has format {newer}, this featx reads up to {FORMAT}; update featx")
    try:
        header = Header.model_validate_json(text)
        fields = parse_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        raise ArtifactError(f"{file} is not a header of format {FORMAT} or older ({where}: {first['msg']})") from error
    except ParseError as error:
        raise ArtifactError(f"{file} {error}; make the run again with '--force'") from error
    is_sealed = header.seal is not None or header.format >= SEALED_FROM
    if is_sealed and not has_valid_seal(fields):
        raise ArtifactError(f"{file} was edited after it was made; make the run again with '--force'")
    return folder, header


def run_folder(path: str | Path) -> Path:
    """Return a path, or the one finished run whose folder's name begins so.

    Raises
    ------
    ArtifactError
        there are several.
    """
    path = Path(path)
    if path.exists():
        return path
    begun = sorted(header.parent for header in path.parent.glob(f"{glob.escape(path.name)}*/{HEADER}"))
    if len(begun) > 1:
        listed = ", ".join(one.name for one in begun)
        raise ArtifactError(f"{path} begins the names of several runs: {listed}; name one of them")
    return begun[0] if begun else path


def _format_of(text: bytes) -> int:
    """Return a header's format number where one can be read; what else is wrong shows when it is checked."""
    try:
        return int(parse_json(text)["format"])
    except (ValueError, OverflowError, TypeError, KeyError):
        return FORMAT


def write_header(folder: Path, **fields: Any) -> None:
    """Write the header of a model whose body and predictions stand in `folder`; it names weights without folders."""
    body = BODIES[fields["kind"]]
    files = {name: sha256_of(folder / name) for name in (body, PREDICTIONS) if (folder / name).is_file()}
    header = Header(body_sha256=files[body], files_sha256=files, **fields)
    embeddings = tuple(one.model_copy(update={"request": one.request.portable}) for one in header.embeddings)
    header = header.model_copy(update={"embeddings": embeddings})
    if header.network is not None:
        network = header.network.model_copy(update={"request": header.network.request.portable})
        header = header.model_copy(update={"network": network})
    write_header_file(folder, header)


def write_header_file(folder: Path, header: Header) -> None:
    """Write a header, sealed."""
    # Pydantic writes numbers that are not finite as null; a dump to Python objects would keep them.
    write_sealed(folder / HEADER, json.loads(header.model_dump_json()))


def check_golden(body: Path, header: Header, answers: NDArray[np.floating], tolerance: float) -> None:
    """Compare what a model answers to its golden inputs with what it answered when it was made.

    Raises
    ------
    ArtifactError
        they differ by more than `tolerance`.
    """
    assert header.golden is not None  # as its validator says
    expected = np.asarray(header.golden.outputs)
    moved = float(np.abs(answers - expected).max()) if answers.shape == expected.shape else float("inf")
    if not moved <= tolerance:  # so that nan has moved as well
        raise ArtifactError(
            f"{body} answers its golden inputs otherwise than when it was made (by {moved:.2g}); "
            f"it was made with {_versions(header)}, here are {_versions(None)}"
        )


def checked_body(folder: Path, header: Header) -> Path:
    """Return the body's path once its content is what the header says.

    Raises
    ------
    ArtifactError
        it is missing, cut short or changed.
    """
    body = folder / header.body
    if not body.is_file():
        raise ArtifactError(f"{folder} has a header and no {header.body}; make the run again with '--force'")
    if (found := sha256_of(body)) != header.body_sha256:
        raise ArtifactError(
            f"{body} does not match its header (sha256 {found[:12]}…, expected {header.body_sha256[:12]}…): "
            "it was cut short or changed; make the run again with '--force'"
        )
    return body


def write_head(folder: Path, model: Any, header: dict[str, Any], golden_x: NDArray[np.float32]) -> None:
    """Write ``model.joblib`` and its header into `folder`."""
    import joblib

    body = folder / BODIES["head"]
    kind: Kind = "numbers" if header.get("numbers") else "labels" if header.get("labels") else "classes"
    joblib.dump(model, body, compress=3)
    write_header(
        folder, kind="head", golden=GoldenInputs.of(golden_x, predict_outputs(model, golden_x, kind)), **header
    )


def load_head(folder: Path, header: Header) -> Any:
    """Return the scikit-learn object of a head, its golden inputs replayed.

    ``model.joblib`` is unpickled, which runs any code that its author put there; the header's checksum shows only that
    the file is the one that the header was written for.

    Raises
    ------
    ArtifactError
        the body is not what the header says, or answers otherwise than when it was made.
    """
    import joblib

    return replayed(checked_body(folder, header), header, joblib.load)


def replayed(body: Path, header: Header, read: Callable[[Path], Any]) -> Any:
    """Return what stands in a head's body, once it answers its golden inputs as it did.

    Parameters
    ----------
    read
        Opens the body; ``joblib.load`` runs code that stands in it.

    Raises
    ------
    ArtifactError
        it cannot be read here, or answers otherwise.
    """
    assert header.golden is not None  # as its validator says
    try:
        model = read(body)
        answers = predict_outputs(model, header.golden.x(header.n_features), header.answers)
    except FeatxError:
        raise
    except Exception as error:  # whatever a pickle does where packages are missing or have moved on
        raise ArtifactError(
            f"{body} cannot be used here ({type(error).__name__}: {error}); "
            f"it was made with {_versions(header)}, here are {_versions(None)}"
        ) from error
    check_golden(body, header, answers, GOLDEN_TOLERANCE)
    return model


def write_ensemble(folder: Path, members: Sequence[Path], header: dict[str, Any]) -> None:
    """Write the header of an ensemble whose ``ensemble.json`` stands in `folder`; embeddings are its members'."""
    headers = [read_header(member)[1] for member in members]
    embeddings = tuple(dict.fromkeys(one for header in headers for one in header.embeddings))
    write_header(
        folder,
        kind="ensemble",
        n_features=sum(one.n_features for one in embeddings),
        embeddings=embeddings,
        **header,
        **provenance([]) | {"train_ids_sha256": headers[0].train_ids_sha256},
    )


def ensemble_body(folder: Path, header: Header) -> dict[str, Any]:
    """Return an ensemble's method, members (name → sha256 of the body) and combiner, once its checksum holds.

    Raises
    ------
    ArtifactError
        it holds something else, or a member's name is not that of a folder beside the ensemble.
    """
    file = checked_body(folder, header)
    try:
        body: dict[str, Any] = parse_json(file.read_bytes())
        named = checked(body, EnsembleFields).members
    except ParseError as error:
        raise ArtifactError(f"{file} {error}; make the ensemble again with 'featx ensemble --force'") from error
    if outside := [name for name in named if not is_folder_name(name)]:
        raise ArtifactError(f"{file} names the member {outside[0]!r}, expected the name of a folder beside {folder}")
    return body


def beneath(folder: Path, header: Header, above: tuple[Path, ...] = ()) -> dict[Path, Header]:
    """Return the runs that an ensemble needs, also those of ensembles among its members, each once.

    Parameters
    ----------
    above
        The ensembles that this one is a member of.

    Raises
    ------
    ArtifactError
        one is not there, was made again since, or is the ensemble itself.
    """
    found = {}
    for name, sha256 in ensemble_body(folder, header)["members"].items():
        place = folder.parent / name
        if place in {folder, *above}:
            raise ArtifactError(
                f"{place} contains itself as a member; run 'featx ensemble' again with other '--members'"
            )
        if not place.is_dir():
            raise ArtifactError(f"{folder} votes over {name!r}, which is not beside it; copy its members along with it")
        member = read_header(place)[1]
        if member.body_sha256 != sha256:
            raise ArtifactError(f"member {name!r} of {folder} was made again since; run 'featx ensemble' again")
        found[place] = member
        if member.kind == "ensemble":
            found |= beneath(place, member, (*above, folder))
    return found


def differing_versions(header: Header) -> str:
    """Return the packages that are not those that a model was made with, as a sentence; empty where all are."""
    here = {name: _installed_version(name) for name in header.versions}
    odd = [f"{name} {header.versions[name]} (here {now})" for name, now in here.items() if header.versions[name] != now]
    return f"made with {', '.join(odd)}" if odd else ""


def _installed_version(package: str) -> str:
    """Return the version in a package's metadata; nothing is imported, since a header may come from a stranger."""
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):  # ValueError: an empty name
        return "not there"


def _versions(header: Header | None) -> str:
    found: Sequence[tuple[str, str]] = (
        list(header.versions.items()) if header else [(name, version(name)) for name in RECORDED]
    )
    return ", ".join(f"{name} {number}" for name, number in found)
