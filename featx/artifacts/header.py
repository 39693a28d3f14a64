"""Headers of saved models: what a model is, where it comes from and how it is verified."""

import base64
import glob
import hashlib
import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, model_validator

from featx.errors import ArtifactError
from featx.files.atomic import file_sha256
from featx.files.parsing import ParseError, parse_json
from featx.files.seals import HEADER_FILE, has_valid_seal, write_sealed
from featx.metrics.conformal import ConformalSpec
from featx.specs.base import Spec
from featx.specs.embedding import CHECKPOINT_PREFIX, ResolvedEmbedding
from featx.specs.trained_network import NetworkSpec
from featx.study.run_folder import PREDICTIONS, RunFolder
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Ids, Kind

HEADER_FORMAT = 1
BODY_FILES = {
    "head": "model.joblib",
    "network": "model.safetensors",
    "ensemble": "ensemble.json",
    "smoothed": "smoothing.json",
}
PACKAGES = ("featx", "scikit-learn", "xgboost", "numpy", "joblib", "optuna")
NETWORK_PACKAGES = ("featx", "torch", "torchvision", "timm", "pytorch-lightning", "numpy")


class GoldenInputs(Spec):
    """A few inputs and the model's outputs for them, which verify a loaded model.

    Attributes
    ----------
    inputs
        Inputs (g, d), little-endian float32 in base64.
    outputs
        Outputs (g, k): probabilities or numbers.
    """

    inputs: str
    outputs: tuple[tuple[float, ...], ...]

    @classmethod
    def from_arrays(cls, x: NDArray[np.float32], outputs: NDArray[np.float64]) -> "GoldenInputs":
        """Return inputs (g, d) and outputs (g, k) as text and tuples, for JSON."""
        text = base64.b64encode(np.ascontiguousarray(x, dtype="<f4").tobytes()).decode()
        return cls(inputs=text, outputs=tuple(tuple(map(float, row)) for row in outputs))

    def has_shape(self, n_features: int, n_outputs: int) -> bool:
        """Return whether there are inputs of `n_features`, with one row of `n_outputs` for each."""
        n_bytes = len(base64.b64decode(self.inputs))
        return n_bytes == 4 * n_features * len(self.outputs) > 0 and {*map(len, self.outputs)} == {n_outputs}

    def decode_inputs(self, n_features: int) -> NDArray[np.float32]:
        """Return the inputs, (g, d)."""
        return np.frombuffer(base64.b64decode(self.inputs), dtype="<f4").reshape(-1, n_features)


class RefitSource(Spec):
    """Source of a model that was fitted on other rows or embeddings than its setting was chosen and scored with.

    Attributes
    ----------
    run
        Name of the run whose setting, scores and thresholds of prediction sets the model has.
    parts
        Parts of the split whose rows the model was fitted on.
    n_rows
        Number of these rows.
    """

    run: str
    parts: tuple[str, ...]
    n_rows: int


class Header(Spec):
    """Description of a saved model, which is read and verified before the model is loaded.

    Attributes
    ----------
    format
        Version number of the header's format.
    kind, target
        Kind of the model, and name of its target.
    classes
        Class names in the order of the codes; empty for labels and numbers.
    labels, numbers
        Names of the predicted labels or numbers, in the order of the columns; one of the three is not empty.
    n_features, embeddings
        Number of input features d, and the embeddings that are concatenated to the input.
    train_ids_sha256
        SHA-256 of the sorted ids of the train rows.
    versions, commit, created
        Versions of packages, commit of the working directory's repository ("-dirty" appended if it had changes), and
        time, when the model was saved.
    metrics
        Scores of the model when it was saved; of a refitted model those of the run in `refit`.
    body_sha256
        SHA-256 of the body's file.
    golden
        Golden inputs and outputs; None for ensembles and smoothed runs, whose members have their own. Networks store
        outputs only; their inputs are generated.
    network
        Parts of a fine-tuned network, which takes images and no embeddings; None for other models.
    decision
        Rule by which a class is predicted from probabilities; None for the most probable class.
    conformal
        Thresholds of prediction sets and intervals; None for labels.
    refit
        Source of a refitted model; None for a model of a run of its own.
    files_sha256
        File name → SHA-256 of the files of the run that scores and predictions depend on: the body and the predictions.
    seal
        Checksum of all other fields; None until the header is written.
    """

    format: int = HEADER_FORMAT
    kind: Literal["head", "network", "ensemble", "smoothed"]
    target: str
    classes: tuple[str, ...] = ()
    n_features: int
    embeddings: tuple[ResolvedEmbedding, ...]
    train_ids_sha256: str
    versions: dict[str, str]
    commit: str | None
    created: str
    metrics: dict[str, Any]
    body_sha256: str
    golden: GoldenInputs | None = None
    network: NetworkSpec | None = None
    numbers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    conformal: ConformalSpec | None = None
    decision: DecisionRule | None = None
    refit: RefitSource | None = None
    files_sha256: dict[str, str]
    seal: str | None = None

    @property
    def prediction_kind(self) -> Kind:
        """Kind of the model's predictions."""
        return "numbers" if self.numbers else "labels" if self.labels else "classes"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predicted classes, labels or numbers, in the order of the columns."""
        return self.classes or self.labels or self.numbers

    @model_validator(mode="after")
    def _check_consistency(self) -> "Header":
        if (d := sum(embedding.n_features for embedding in self.embeddings)) != self.n_features:
            raise ValueError(f"n_features is {self.n_features}, its embeddings have {d}")
        if self.decision is not None and len(self.decision.weights) != len(self.classes):
            raise ValueError("the decision rule does not have one weight for each class")
        if self.kind == "head" and (self.golden is None or not self.golden.has_shape(self.n_features, len(self.names))):
            raise ValueError("golden inputs are missing or do not fit n_features and classes")
        if self.kind == "network" and (self.golden is None or self.network is None):
            raise ValueError("golden outputs or the parts of the network are missing")
        return self

    @property
    def body(self) -> str:
        """File name of the body."""
        return BODY_FILES[self.kind]


def provenance(train_ids: Ids, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return the header's fields that record the origin of a model.

    Parameters
    ----------
    train_ids
        Ids of the train rows.
    packages
        Packages whose versions are recorded.
    """
    return {
        "train_ids_sha256": hashlib.sha256("\n".join(sorted(train_ids)).encode()).hexdigest(),
        "versions": {name: version(name) for name in packages},
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """Return the commit of the working directory's repository, with "-dirty" appended if it has changes."""
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def read_header(path: str | Path) -> tuple[Path, Header]:
    """Return the folder of a saved model and its header.

    Parameters
    ----------
    path
        A run folder, or the body or header in it.

    Raises
    ------
    ArtifactError
        The header is missing, unreadable, edited or written by a newer featx.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    # The name of a folder is that of the run; '.' and '..' are none.
    folder = folder.resolve() if folder.name in {"", ".."} else folder
    file = folder / HEADER_FILE
    if not path.exists():
        raise ArtifactError(f"there is no {path}; expected a run folder or its model, 'featx runs ls' lists them")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} has no {HEADER_FILE} beside it; expected a run folder made by featx") from error
    if (number := _format_number(text)) > HEADER_FORMAT:
        raise ArtifactError(f"{file} has format {number}, this featx reads up to {HEADER_FORMAT}; update featx")
    try:
        header = Header.model_validate_json(text)
        fields = parse_json(text)
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(map(str, first_error["loc"])) or "as a whole"
        raise ArtifactError(
            f"{file} is not a header of format {HEADER_FORMAT} ({key}: {first_error['msg']})"
        ) from error
    except ParseError as error:
        raise ArtifactError(f"{file} {error}; make the run again with {RunFolder(folder).remake_command!r}") from error
    if not has_valid_seal(fields):
        raise ArtifactError(
            f"{file} was edited after it was written; make the run again with {RunFolder(folder).remake_command!r}"
        )
    return folder, header


def find_sibling_run(folder: Path, name: str) -> Path:
    """Return the folder `name` beside a run's folder; if that folder is a link, also beside the target of the link."""
    member_folder = folder.parent / name
    return member_folder if member_folder.is_dir() else folder.resolve().parent / name


def find_run_folder(path: str | Path) -> Path:
    """Return `path` if it exists, or the only finished run whose folder's name starts with its name.

    Raises
    ------
    ArtifactError
        Several runs match.
    """
    path = Path(path)
    matches = _runs_at(path)
    if len(matches) > 1:
        names_text = ", ".join(match.name for match in matches)
        raise ArtifactError(f"{path} matches {len(matches)} runs: {names_text}; name one of them")
    return matches[0] if matches else path


def _runs_at(path: Path) -> list[Path]:
    """Return `path` if it exists, or the finished runs whose folders' names start with its name."""
    if path.exists():
        return [path]
    return sorted(header.parent for header in path.parent.glob(f"{glob.escape(path.name)}*/{HEADER_FILE}"))


def find_network(backbone: str, model_folder: Path, sha256: str | None = None) -> str:
    """Return a backbone that is the network of a run with the path of the run's folder on this machine.

    The run is expected beside the folder of the model that uses it, or at the path in the backbone's name.

    Parameters
    ----------
    backbone
        Name of the backbone; others than those of runs are returned as they are.
    model_folder
        Folder of the model.
    sha256
        SHA-256 of the network's weights; None expects only one run of this name.

    Raises
    ------
    ArtifactError
        There is no such run, or, without `sha256`, there are several.
    """
    if not backbone.startswith(CHECKPOINT_PREFIX):
        return backbone
    stated_path = Path(backbone.removeprefix(CHECKPOINT_PREFIX))
    places = [model_folder.resolve().parent / stated_path.name, stated_path]
    for place in places:
        runs = _runs_at(find_run_folder(place) if sha256 is None else place)
        for run in runs:
            if sha256 is None or read_header(run)[1].body_sha256 == sha256:
                return f"{CHECKPOINT_PREFIX}{run}"
    raise ArtifactError(
        f"{model_folder} takes the outputs of the network {stated_path.name}, which is not in "
        f"{model_folder.resolve().parent}; copy the folder of its run there, or train it again"
    )


def _format_number(text: bytes) -> int:
    """Return a header's format number, or the current one if it has none; validation reports that later."""
    try:
        return int(parse_json(text)["format"])
    except (ValueError, OverflowError, TypeError, KeyError):
        return HEADER_FORMAT


def write_header(folder: Path, **fields: Any) -> None:
    """Write the header of a model whose body and predictions are in `folder`; files and runs have no folders in it."""
    body = BODY_FILES[fields["kind"]]
    files = {name: file_sha256(folder / name) for name in (body, PREDICTIONS) if (folder / name).is_file()}
    header = Header(body_sha256=files[body], files_sha256=files, **fields)
    embeddings = tuple(
        embedding.model_copy(update={"request": embedding.request.portable}) for embedding in header.embeddings
    )
    header = header.model_copy(update={"embeddings": embeddings})
    if header.network is not None:
        network = header.network.model_copy(update={"request": header.network.request.portable})
        header = header.model_copy(update={"network": network})
    write_header_file(folder, header)


def write_header_file(folder: Path, header: Header) -> None:
    """Write a header with its seal."""
    # Pydantic writes numbers that are not finite as null; a dump to Python objects would keep them.
    write_sealed(folder / HEADER_FILE, json.loads(header.model_dump_json()))


def compare_versions(header: Header) -> str:
    """Return a clause that lists the package versions that a model was saved with and those that are installed."""
    saved_text = ", ".join(f"{name} {number}" for name, number in header.versions.items())
    installed_text = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"it was saved with {saved_text}, installed are {installed_text}"


def describe_version_changes(header: Header) -> str:
    """Return a clause that lists the packages whose installed version is not that of the header; empty if none."""
    installed_versions = {name: _installed_version(name) for name in header.versions}
    changes = [
        f"{name} {header.versions[name]} (installed: {number})"
        for name, number in installed_versions.items()
        if header.versions[name] != number
    ]
    return f"saved with {', '.join(changes)}" if changes else ""


def _installed_version(package: str) -> str:
    """Return the version in a package's metadata; nothing is imported, since the header may come from a stranger."""
    try:
        return version(package)
    # ValueError is raised for an empty name.
    except (PackageNotFoundError, ValueError):
        return "none"
