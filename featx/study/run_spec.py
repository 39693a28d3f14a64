"""Specs of runs: kind, settings and state of the data that a run was made from (``spec.json``)."""

from typing import Any, Literal

from pydantic import field_validator

from featx.file_names import is_folder_name
from featx.specs.base import Spec, fingerprint

# Versions of the code that makes runs, by kind. Runs of another version are neither compared nor returned.
RULES = {"head": 1, "network": 1, "ensemble": 1}


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

    kind: Literal["head", "network", "ensemble"]
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


class RefitSpec(Spec):
    """Run whose setting is fitted on more rows, and these rows.

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
    refit
        Run whose setting this one has; None for a run of its own.
    """

    kind: Literal["head"] = "head"
    head: dict[str, Any]
    embeddings: tuple[str, ...]
    refit: RefitSpec | None = None

    @property
    def head_name(self) -> str:
        """Name of the head."""
        return str(self.head["name"])


class NetworkRunSpec(RunSpec):
    """Spec of the run of a fine-tuned network.

    Attributes
    ----------
    finetune
        Fields of the `FinetuneSpec`, which are not validated again.
    weights_sha256
        SHA-256 of the file of weights that training starts from; ``none`` for random weights.
    decoding
        Fields of the `Decoding` that change pixel values.
    """

    kind: Literal["network"] = "network"
    finetune: dict[str, Any]
    weights_sha256: str
    decoding: dict[str, Any]


class EnsembleRunSpec(RunSpec):
    """Spec of the run of an ensemble.

    Attributes
    ----------
    val
        State of the val rows, which trained methods are fitted to.
    method, metric, stacker, folds, seed
        Settings of the voting method (`EnsembleSpec`); `stacker` is None for methods that have none.
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
        if outside := [name for name in members if not is_folder_name(name)]:
            raise ValueError(f"it names the member {outside[0]!r}, which is no folder's name")
        return members


AnyRunSpec = HeadRunSpec | NetworkRunSpec | EnsembleRunSpec
RUN_SPECS: dict[str, type[AnyRunSpec]] = {
    "head": HeadRunSpec,
    "network": NetworkRunSpec,
    "ensemble": EnsembleRunSpec,
}
