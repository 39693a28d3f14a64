"""Specs of runs: kind, settings and state of the data that a run was made from (``spec.json``)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator

from featx.file_names import is_folder_name
from featx.specs.base import Spec, fingerprint

# Versions of the code that makes runs, by kind. Runs of another version are neither compared nor returned.
RULES = {"head": 2, "network": 2, "ensemble": 2, "smoothed": 1}
# Commands that make the runs of each kind once more.
REMAKE_COMMANDS = {
    "head": "featx fit --force",
    "network": "featx finetune --force",
    "ensemble": "featx ensemble --force",
    "smoothed": "featx smooth RUN --force",
}


class TrainState(Spec):
    """State of all training data of a run; all but the names are fingerprints of 16 hex digits.

    Attributes
    ----------
    target
        Name of the target.
    split
        Part and content of each image with an embedding.
    units
        Units of the train rows, which every split keeps in one part.
    labels
        Labels and weights of the train rows.
    group_columns
        Label columns of the groups by which rows are weighted.
    group_values
        Group of each train row.
    """

    target: str
    split: str
    units: str
    labels: str
    group_columns: tuple[str, ...]
    group_values: str


class ValState(Spec):
    """State of the val rows: fingerprints of their labels and weights, and of their units."""

    val_labels: str
    val_units: str


class RunSpec(Spec):
    """Everything that determines a run; its fingerprint is a part of the name of the run's folder.

    Attributes
    ----------
    kind
        Kind of the run.
    rules
        Version of the code that made the run (`RULES`).
    train
        State of the training data.
    """

    kind: Literal["head", "network", "ensemble", "smoothed"]
    rules: int
    train: TrainState

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.train.target

    @property
    def settings_fingerprint(self) -> str:
        """Fingerprint of the settings alone, which are the same for every split of the data."""
        return fingerprint(self.model_dump(mode="json", exclude={"train", "val", "members"}))

    @property
    def stem(self) -> str:
        """Name of the head, the backbone or the ensemble method."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that a recipe can vary, as JSON values by dotted name; those that have no effect are left out."""
        raise NotImplementedError


class RefitSpec(Spec):
    """Run whose setting is fitted on more rows or on embeddings in another precision, and these rows.

    Attributes
    ----------
    run, body_sha256
        Name of the run, and SHA-256 of its model.
    parts
        Parts of the split whose rows are fitted.
    val
        State of the val rows.
    """

    run: str
    body_sha256: str
    parts: tuple[str, ...]
    val: ValState


class HeadRunSpec(RunSpec):
    """Spec of the run of a head.

    Attributes
    ----------
    head
        Fields of the `HeadSpec`. They are not validated again, because a head of another package may not be installed.
    embeddings
        Fingerprints of the embeddings that the head may use.
    embedding_names
        Names of these embeddings.
    refit
        Run whose setting this one has; None for a run of its own.
    """

    kind: Literal["head"] = "head"
    head: dict[str, Any]
    embeddings: tuple[str, ...]
    embedding_names: tuple[str, ...] = ()
    refit: RefitSpec | None = None

    @property
    def head_name(self) -> str:
        """Name of the head."""
        return str(self.head["name"])

    @property
    def stem(self) -> str:
        """Name of the head."""
        return self.head_name

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of the `HeadSpec`; its name is the setting ``head``, its embeddings are those that it may use."""
        fields = {"head" if name == "name" else name: value for name, value in _flatten(self.head).items()}
        if self.embedding_names and fields.get("embeddings") == "all":
            fields["embeddings"] = list(self.embedding_names)
        return fields


class NetworkRunSpec(RunSpec):
    """Spec of the run of a fine-tuned network.

    Attributes
    ----------
    finetune
        Fields of the canonical `FinetuneSpec`, which are not validated again; `choose_by` is ``loss`` or the name of
        the metric.
    weights_sha256
        SHA-256 of the file of weights that training starts from; ``none`` for random weights.
    decoding
        Fields of the `Decoding` that change pixel values.
    val
        State of the val rows, if they stop the training; None otherwise.
    section
        Name of the section of the recipe; empty if it has none.
    teacher_sha256
        SHA-256 of the body of the run that a network was distilled from; None for others.
    """

    kind: Literal["network"] = "network"
    finetune: dict[str, Any]
    weights_sha256: str
    decoding: dict[str, Any]
    val: ValState | None = None
    section: str = ""
    teacher_sha256: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return the fields that the fingerprint is computed from; a network without a teacher has none."""
        fields = super().identity()
        return {name: value for name, value in fields.items() if name != "teacher_sha256" or value is not None}

    @property
    def stem(self) -> str:
        """Name of the section, or else of the backbone, without the folders of a checkpoint."""
        return self.section or str(self.finetune["backbone"]).rpartition("/")[2]

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of the `FinetuneSpec`; a run has either phases, or a learning rate and a number of epochs."""
        unused_names = {"lr", "epochs"} if self.finetune.get("phases") else {"phases"}
        return _flatten({name: value for name, value in self.finetune.items() if name not in unused_names})


class EnsembleRunSpec(RunSpec):
    """Spec of the run of an ensemble.

    Attributes
    ----------
    val
        State of the val rows, which trained methods are fitted to.
    method, metric, stacker, folds, seed
        Settings of the ensemble method (`EnsembleSpec`); `stacker` is None for methods that have none.
    members
        Name of each candidate member → SHA-256 of its body.
    """

    kind: Literal["ensemble"] = "ensemble"
    val: ValState
    method: str
    metric: str
    stacker: str | None
    folds: int
    seed: int
    members: dict[str, str]

    @field_validator("members")
    @classmethod
    def _check_folder_names(cls, members: dict[str, str]) -> dict[str, str]:
        if invalid_names := [name for name in members if not is_folder_name(name)]:
            raise ValueError(f"it names the member {invalid_names[0]!r}, which is no folder's name")
        return members

    @property
    def stem(self) -> str:
        """Name of the ensemble method."""
        return self.method

    @property
    def settings(self) -> dict[str, Any]:
        """Method, metric, stacker, folds, seed and names of the candidate members."""
        names = ("method", "metric", "stacker", "folds", "seed")
        return {name: getattr(self, name) for name in names} | {"members": list(self.members)}


class SmoothedRunSpec(RunSpec):
    """Spec of a run that classifies by a vote over noisy copies of an image.

    Attributes
    ----------
    smoothing
        Settings of the `SmoothingSpec`.
    base_stem
        Stem of the run that is smoothed.
    members
        Name of the run that is smoothed → SHA-256 of its body.
    """

    kind: Literal["smoothed"] = "smoothed"
    smoothing: dict[str, Any]
    base_stem: str
    members: dict[str, str]

    @field_validator("members")
    @classmethod
    def _check_base(cls, members: dict[str, str]) -> dict[str, str]:
        if len(members) != 1 or not is_folder_name(next(iter(members))):
            raise ValueError(f"it smooths {list(members)!r}, expected the name of one folder")
        return members

    @property
    def base(self) -> str:
        """Name of the run that is smoothed."""
        return next(iter(self.members))

    @property
    def stem(self) -> str:
        """``smoothed`` and the stem of the run that is smoothed."""
        return f"smoothed-{self.base_stem}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the noise, and the run that is smoothed."""
        return {**self.smoothing, "run": self.base}


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields as one level with dotted names; ``loss.name`` becomes ``loss``."""
    flat_fields: dict[str, Any] = {}
    for name, value in fields.items():
        dotted_name = prefix.rstrip(".") if prefix and name == "name" else f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat_fields |= _flatten(value, f"{dotted_name}.")
        else:
            flat_fields[dotted_name] = value
    return flat_fields


AnyRunSpec = HeadRunSpec | NetworkRunSpec | EnsembleRunSpec | SmoothedRunSpec
RUN_SPECS: dict[str, type[AnyRunSpec]] = {
    "head": HeadRunSpec,
    "network": NetworkRunSpec,
    "ensemble": EnsembleRunSpec,
    "smoothed": SmoothedRunSpec,
}
