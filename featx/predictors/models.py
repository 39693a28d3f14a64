"""Loaded runs as models that predict: from embeddings without torch, from images with it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.artifacts.artifact import OUTPUT_TAP
from featx.artifacts.header import Header, describe_version_changes, find_network
from featx.artifacts.outputs import predict_outputs
from featx.ensembles.combiners import Combiner, MemberOutputs
from featx.errors import ArtifactError, DataError
from featx.parallel.threads import single_threaded
from featx.predictors.prediction import Prediction, warn_unreadable
from featx.specs.embedding import CHECKPOINT_PREFIX, EmbeddingRequest, EmbeddingSpec, ResolvedEmbedding
from featx.specs.sequences import as_tuple
from featx.study.embedding_lock import read_locked
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Floats
from featx.tables.target_values import TARGET_KINDS, ClassTargets, TargetValues

if TYPE_CHECKING:
    from featx.embeddings.files import EmbeddedFiles, FileEmbedder
    from featx.networks.features import BuiltBackbone

# Parent folders of a run that are searched for weights: the study, the folder of runs and the project.
N_PARENTS_SEARCHED = 3
# Fingerprint of an embedding → vectors (n, d).
Columns = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Model(ABC):
    """A loaded run: `HeadModel`, `NetworkModel` or `EnsembleModel`.

    Attributes
    ----------
    name
        Name of the run.
    header
        Header of the run.
    folder
        Folder of the run, or of an exported model's file.
    """

    name: str
    header: Header = field(repr=False)
    folder: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the predicted classes, labels or numbers, in the order of the columns."""
        return self.header.names

    @property
    def _target_kind(self) -> type[TargetValues]:
        return TARGET_KINDS[self.header.prediction_kind]

    @property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """The embeddings that are concatenated to the model's input."""
        return self.header.embeddings

    @property
    def local_embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """The embeddings, each file of weights given by its path on this machine.

        Raises
        ------
        WeightsError
            A file of weights is not found.
        """
        return tuple(_with_weights(embedding, self.folder) for embedding in self.embeddings)

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, BuiltBackbone]":
        """The networks that were built while loading, by `EmbeddingRequest.network_key`; empty for a head."""
        return {}

    @property
    def version_warnings(self) -> list[str]:
        """A warning if packages have other versions than when the model was saved; its golden inputs agree anyway."""
        changes = describe_version_changes(self.header)
        return [f"{self.name} was {changes}"] if changes else []

    @abstractmethod
    def predict_columns(self, columns: Columns) -> Floats:
        """Return outputs (n, k) from the vectors (n, d) of each embedding."""

    def predict_proba(self, x: Any) -> Floats:
        """Return probabilities (n, k) of classes or labels, or numbers (n, t).

        Parameters
        ----------
        x
            Vectors (n, d); several embeddings are concatenated in the order of `embeddings`.

        Raises
        ------
        ArtifactError
            The input does not have the model's number of features.
        DataError
            Rows hold nan or infinity.
        """
        x = np.asarray(x, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != self.header.n_features:
            names = ", ".join(embedding.request.name for embedding in self.embeddings)
            raise ArtifactError(
                f"{self.name} expects (n, {self.header.n_features}) features from {names}, found shape {x.shape}; "
                "extract with the artifact's embeddings ('featx show' prints them)"
            )
        if n_invalid := int((~np.isfinite(x).all(axis=1)).sum()):
            raise DataError(f"{n_invalid} of {len(x)} rows of features hold nan or infinity; expected finite numbers")
        if not len(x):
            return np.zeros((0, len(self.header.names)))
        edges = np.cumsum([embedding.n_features for embedding in self.embeddings])[:-1]
        fingerprints = [embedding.spec.fingerprint() for embedding in self.embeddings]
        return self.predict_columns(dict(zip(fingerprints, np.split(x, edges, axis=1), strict=True)))

    def predict(self, x: Any) -> NDArray[Any]:
        """Return class names (n,), labels (n, t) in {0, 1} or numbers (n, t) for vectors (n, d)."""
        decisions = self._target_kind.decide(self.predict_proba(x), self.header.decision)
        return np.asarray(self.classes, dtype=object)[decisions] if self._target_kind is ClassTargets else decisions

    def predict_images(self, images: Sequence[str | Path] | str | Path, device: str = "auto") -> Prediction:
        """Return the prediction for all readable images, whose paths are in its attribute `images`.

        A warning names unreadable ones, which have no row in the prediction.

        Parameters
        ----------
        images
            Paths of images, or a single path; `featx.predict` also takes folders and archives.
        device
            ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises
        ------
        DataError
            An image is not a path.
        WeightsError
            A file of weights is not found.
        """
        paths = list(as_tuple(images))
        if invalid_paths := [path for path in paths if not isinstance(path, str | Path)]:
            raise DataError(
                f"expected paths of images, found {type(invalid_paths[0]).__name__}; "
                "use 'featx.ImageEmbedder' for arrays"
            )
        prediction = self.predict_embedded(self._embedder(device).embed_paths([str(path) for path in paths]))
        warn_unreadable(prediction)
        return prediction

    def _embedder(self, device: str) -> "FileEmbedder":
        """Return the networks of the model on a device; each process builds them once, when they are first needed."""
        from featx.embeddings.files import FileEmbedder

        # The threads of a runtime do not survive a fork.
        key = device, os.getpid()
        embedders = self._embedders
        if key not in embedders:
            # Another thread may have added it meanwhile; both then use the same one.
            embedders.setdefault(key, FileEmbedder(self.local_embeddings, device, self.networks))
        return embedders[key]

    @cached_property
    def _embedders(self) -> "dict[tuple[str, int], FileEmbedder]":
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: a copy builds its networks when they are first needed."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def predict_listed(self, embedded_files: "EmbeddedFiles", uris: Mapping[str, str], device: str) -> Prediction:
        """Return the prediction for images that have been embedded; a model that takes pixels reads the images again.

        Parameters
        ----------
        embedded_files
            Embeddings of the images.
        uris
            Image → its place.
        device
            Device of models that take pixels.
        """
        return self.predict_embedded(embedded_files)

    def predict_embedded(self, embedded_files: "EmbeddedFiles") -> Prediction:
        """Return the prediction for images that have been embedded."""
        return Prediction(
            embedded_files.images,
            self.predict_columns(embedded_files.columns) if embedded_files.images else np.empty((0, len(self.classes))),
            self.classes,
            embedded_files.unreadable,
            [*embedded_files.warnings, *self.version_warnings],
            kind=self.header.prediction_kind,
            conformal=self.header.conformal,
            decision=self.header.decision,
        )


def _with_weights(embedding: ResolvedEmbedding, model_folder: Path) -> ResolvedEmbedding:
    """Return an embedding with the paths of its network and of its file of weights on this machine, if it has such.

    The file is searched where the study's last extraction read it, in the model's folder, its three parent folders and
    the working directory, and in the folder ``weights`` of each of these.
    """
    request, sha256 = embedding.request, embedding.spec.weights_sha256
    request = request.model_copy(update={"backbone": find_network(request.backbone, model_folder, sha256)})
    if not request.has_own_weights:
        return embedding.model_copy(update={"request": request})
    from featx.networks.pretrained_weights import find_weights

    last_read = [
        Path(locked.weights_file[0]).parent
        for study_folder in dict.fromkeys((model_folder.parent, model_folder.resolve().parent))
        for locked in read_locked(study_folder)
        if locked.weights_file and locked.spec.weights_sha256 == sha256
    ]
    nearby_folders = [model_folder, *model_folder.absolute().parents[:N_PARENTS_SEARCHED], Path()]
    folders = [*last_read, *nearby_folders, *(folder / "weights" for folder in nearby_folders)]
    file = find_weights(request.weights, sha256, folders)
    return embedding.model_copy(update={"request": request.model_copy(update={"weights": str(file)})})


@dataclass(frozen=True)
class HeadModel(Model):
    """A head: a fitted scikit-learn Pipeline with its header."""

    model: Any

    def predict_columns(self, columns: Columns) -> Floats:
        """Return the outputs (n, k) of the Pipeline for the concatenated vectors."""
        x = np.hstack([columns[embedding.spec.fingerprint()] for embedding in self.embeddings])
        return predict_outputs(self.model, x, self.header.prediction_kind)


@dataclass(frozen=True)
class NetworkModel(Model):
    """A fine-tuned network, whose outputs are extracted like an embedding."""

    @cached_property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """The outputs of the network's last layer as an embedding."""
        network = self.header.network
        # The header's validator has checked this.
        assert network is not None
        decoding = network.request.decoding
        request = EmbeddingRequest(
            backbone=f"{CHECKPOINT_PREFIX}{self.folder}", tap=OUTPUT_TAP, precision="fp32", decoding=decoding
        )
        spec = EmbeddingSpec(
            backbone=request.backbone,
            weights_sha256=self.header.body_sha256,
            tap=OUTPUT_TAP,
            pool=request.pool,
            preprocessing=network.preprocessing,
            decoding=decoding,
        )
        return (ResolvedEmbedding(request=request, spec=spec, n_features=len(self.classes)),)

    @cached_property
    def built(self) -> "BuiltBackbone":
        """The network with its weights; its golden outputs are verified when it is built."""
        # Heads are loaded without torch, which this import needs.
        from featx.finetuning.checkpoints import load_checked_network

        return load_checked_network(self.folder, self.embeddings[0].request)

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, BuiltBackbone]":
        """The network itself, by its `EmbeddingRequest.network_key`."""
        return {self.embeddings[0].request.network_key: self.built}

    def predict_columns(self, columns: Columns) -> Floats:
        """Return the outputs (n, k) of the network, which are its embedding."""
        return columns[self.embeddings[0].spec.fingerprint()].astype(np.float64)

    def predict_proba(self, x: Any) -> Floats:
        """Raise an error, because a network takes images and no embeddings.

        Raises
        ------
        ArtifactError
            Always.
        """
        raise ArtifactError(f"{self.name} is a network and takes images, not embeddings; use 'predict_images'")


@dataclass(frozen=True)
class EnsembleModel(Model):
    """An ensemble of loaded members: heads, networks or other ensembles.

    Attributes
    ----------
    method
        Name of the ensemble's method.
    members
        The loaded members.
    combiner
        Combiner of the members' outputs.
    """

    method: str
    members: tuple[Model, ...]
    combiner: Combiner

    @property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """The embeddings of all members, each once."""
        return tuple(dict.fromkeys(embedding for member in self.members for embedding in member.embeddings))

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, BuiltBackbone]":
        """The networks of all members, by `EmbeddingRequest.network_key`."""
        return {key: network for member in self.members for key, network in member.networks.items()}

    def predict_proba(self, x: Any) -> Floats:
        """Return outputs (n, k) for vectors (n, d); an ensemble with networks takes images only.

        Raises
        ------
        ArtifactError
            A network is among the members, or the input does not have the model's number of features.
        DataError
            Rows hold nan or infinity.
        """
        for network in self._member_networks():
            network.predict_proba(x)
        return super().predict_proba(x)

    def _member_networks(self) -> Iterator["NetworkModel"]:
        """Yield the networks among the members, those of nested ensembles included."""
        for member in self.members:
            if isinstance(member, EnsembleModel):
                yield from member._member_networks()
            elif isinstance(member, NetworkModel):
                yield member

    @single_threaded()
    def predict_columns(self, columns: Columns) -> Floats:
        """Return the combined outputs (n, k) of the members; probabilities of classes sum to 1."""
        return self.combine(np.stack([self.reorder(m, m.predict_columns(columns)) for m in self.members]))

    def check_combiner(self) -> None:
        """Combine one row of equal outputs, so that a combiner of other members is noticed.

        Raises
        ------
        ValueError
            The result has another shape; numpy may raise other errors.
        """
        shape = (len(self.members), 1, len(self.classes))
        outputs = self._combined(np.full(shape, 0.5))
        if outputs.shape != shape[1:]:
            raise ValueError(f"found outputs of shape {outputs.shape}, expected {shape[1:]}")

    def combine(self, stacked: Floats) -> Floats:
        """Return the combined outputs (n, k) for the members' (m, n, k); probabilities of classes sum to 1."""
        return self._target_kind.normalise(self._combined(stacked))

    def _combined(self, stacked: Floats) -> Floats:
        rules = tuple(self.rule_of(member) for member in self.members)
        return self.combiner.outputs(MemberOutputs(self.header.prediction_kind, self.classes, stacked, rules))

    def rule_of(self, member: Model) -> DecisionRule | None:
        """Return a member's decision rule, classes in the order of the ensemble."""
        rule = member.header.decision
        return None if rule is None else rule.ordered([member.classes.index(name) for name in self.classes])

    def reorder(self, member: Model, outputs: Floats) -> Floats:
        """Return a member's outputs, columns in the order of the ensemble; probabilities sum to 1 in float64."""
        if set(member.classes) != set(self.classes):
            raise ArtifactError(
                f"member {member.name!r} predicts {list(member.classes)!r}, expected {list(self.classes)!r}; a header "
                "was changed: run 'featx fit' and 'featx ensemble' again with '--force'"
            )
        return self._target_kind.normalise(outputs)[:, [member.classes.index(name) for name in self.classes]]
