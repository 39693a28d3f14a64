"""Models that answer, from a run folder: for embeddings without torch, for images with it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.artifacts import skops_format
from featx.artifacts.artifact import (
    ANSWERS,
    HEADER,
    Header,
    beneath,
    differing_versions,
    ensemble_body,
    load_head,
    read_header,
    replayed,
)
from featx.artifacts.export_card import is_exported, read_export_card
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import rescored
from featx.ensembles.combiners import Combiner, MemberOutputs, VotingMethod
from featx.errors import ArtifactError, DataError, IncompleteError
from featx.metrics.row_scores import decided
from featx.parallel.threads import single_threaded
from featx.predictors.prediction import Prediction
from featx.registry import VOTES
from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, ResolvedEmbedding
from featx.specs.recipe import CHECKPOINT, Recipe, load_recipe
from featx.study.embedding_lock import read_locked
from featx.study.study import Study
from featx.tables.decision_rule import DecisionRule, decided_codes
from featx.text.masking import masked_values

if TYPE_CHECKING:
    from featx.embeddings.files import EmbeddedFiles
    from featx.networks.features import Built

N_FOLDERS_ABOVE = 3  # of a run that are searched for weights: its study, the folder of runs, the project
Columns = Mapping[str, NDArray[np.float32]]  # fingerprint of an embedding → (n, d)


@dataclass(frozen=True)
class Model(ABC):
    """A loaded run: `HeadModel`, `NetworkModel` or `EnsembleModel`.

    Attributes
    ----------
    name
        The run's.
    header
        What it says of itself.
    folder
        The run's, or the one that an exported model lies in.
    """

    name: str
    header: Header = field(repr=False)
    folder: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, or those of the numbers, in the order of the columns."""
        return self.header.names

    @property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """What it takes, side by side."""
        return self.header.embeddings

    @property
    def embeddings_here(self) -> tuple[ResolvedEmbedding, ...]:
        """`embeddings`, each file of weights by its path on this machine.

        Raises
        ------
        WeightsError
            one is not found.
        """
        return tuple(_with_weights(one, self.folder) for one in self.embeddings)

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, Built]":
        """The networks that were built to load it, by `EmbeddingRequest.network_key`; none of a head."""
        return {}

    @property
    def version_warnings(self) -> list[str]:
        """What is not here as it was where the model was made; its golden inputs are answered as they were there."""
        odd = differing_versions(self.header)
        return [f"{self.name} was {odd}"] if odd else []

    @abstractmethod
    def predict_columns(self, columns: Columns) -> NDArray[np.float64]:
        """Return (n, k) probabilities from each embedding's (n, d)."""

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Return (n, k) probabilities of classes or labels, or (n, t) numbers where it answers these.

        Parameters
        ----------
        x
            (n, d) embeddings, in the order of `embeddings` where there are several.

        Raises
        ------
        ArtifactError
            d is not the model's.
        DataError
            some rows are not finite.
        """
        x = np.asarray(x, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != self.header.n_features:
            names = ", ".join(one.request.name for one in self.embeddings)
            raise ArtifactError(
                f"{self.name} expects (n, {self.header.n_features}) features from {names}, found shape {x.shape}; "
                "extract with the artifact's embeddings ('featx show' prints them)"
            )
        if bad := int((~np.isfinite(x).all(axis=1)).sum()):
            raise DataError(f"{bad} of {len(x)} rows of features hold nan or infinity; expected finite numbers")
        if not len(x):
            return np.zeros((0, len(self.header.names)))
        edges = np.cumsum([one.n_features for one in self.embeddings])[:-1]
        parts = np.split(x, edges, axis=1)
        return self.predict_columns(
            {one.spec.fingerprint(): part for one, part in zip(self.embeddings, parts, strict=True)}
        )

    def predict(self, x: Any) -> NDArray[Any]:
        """Return (n,) class names for (n, d) embeddings; (n, t) labels in {0, 1}, or numbers."""
        if self.header.answers != "classes":
            found = self.predict_proba(x)
            return decided(found) if self.header.answers == "labels" else found
        names = np.asarray(self.classes, dtype=object)
        return np.asarray(names[decided_codes(self.predict_proba(x), self.header.decision)])

    def predict_images(self, images: Sequence[str | Path] | str | Path, device: str = "auto") -> Prediction:
        """Embed images and answer for those that can be read."""
        from featx.embeddings.files import embed_files

        given = [images] if isinstance(images, str | Path) else list(images)
        if odd := [one for one in given if not isinstance(one, str | Path)]:
            raise DataError(
                f"expected paths of images, found {type(odd[0]).__name__}; use 'featx.ImageEmbedder' for arrays"
            )
        embedded = embed_files([str(image) for image in given], self.embeddings_here, device, self.networks)
        return answers(self, embedded)


def _with_weights(embedding: ResolvedEmbedding, model_folder: Path) -> ResolvedEmbedding:
    """Return an embedding whose file of weights is found, where it has one.

    It is looked for where the study's last extraction read it, in the model's folder, the three folders above it and
    the working directory, and in the folder ``weights`` of each.
    """
    request, sha256 = embedding.request, embedding.spec.weights_sha256
    if not request.has_own_weights:
        return embedding
    from featx.networks.pretrained_weights import find_weights

    locked = read_locked(model_folder.parent)
    read_before = [one.weights_file[0] for one in locked if one.weights_file and one.spec.weights_sha256 == sha256]
    near = [model_folder, *model_folder.absolute().parents[:N_FOLDERS_ABOVE], Path()]
    folders = [*(Path(file).parent for file in read_before), *near, *(folder / "weights" for folder in near)]
    file = find_weights(request.weights, sha256, folders)
    return embedding.model_copy(update={"request": request.model_copy(update={"weights": str(file)})})


@dataclass(frozen=True)
class HeadModel(Model):
    """A head: a scikit-learn Pipeline with its header."""

    model: Any

    def predict_columns(self, columns: Columns) -> NDArray[np.float64]:
        """See `Model`."""
        x = np.hstack([columns[one.spec.fingerprint()] for one in self.embeddings])
        return predict_outputs(self.model, x, self.header.answers)


@dataclass(frozen=True)
class NetworkModel(Model):
    """A fine-tuned network: what it answers is read off it like an embedding."""

    @cached_property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """The network's own answers, as what an extractor reads off its last layer."""
        network = self.header.network
        assert network is not None  # as the header's validator says
        decoding = network.request.decoding
        request = EmbeddingRequest(
            backbone=f"{CHECKPOINT}{self.folder}", tap=ANSWERS, precision="fp32", decoding=decoding
        )
        spec = EmbeddingSpec(
            backbone=request.backbone,
            weights_sha256=self.header.body_sha256,
            tap=ANSWERS,
            pool=request.pool,
            preprocessing=network.preprocessing,
            decoding=decoding,
        )
        return (ResolvedEmbedding(request=request, spec=spec, n_features=len(self.classes)),)

    @cached_property
    def built(self) -> "Built":
        """The network with its weights; its golden answers are compared when it is built."""
        from featx.finetuning.checkpoints import checked_network  # torch is for networks only

        return checked_network(self.folder, self.embeddings[0].request)

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, Built]":
        """See `Model`."""
        return {self.embeddings[0].request.network_key: self.built}

    def predict_columns(self, columns: Columns) -> NDArray[np.float64]:
        """See `Model`."""
        return columns[self.embeddings[0].spec.fingerprint()].astype(np.float64)

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Refuse: a network takes images.

        Raises
        ------
        ArtifactError
            always.
        """
        raise ArtifactError(f"{self.name} is a network and takes images, not embeddings; use 'predict_images'")


@dataclass(frozen=True)
class EnsembleModel(Model):
    """A vote over loaded members: heads, networks, or other ensembles.

    Attributes
    ----------
    combiner
        What makes one answer of theirs.
    """

    method: str
    members: tuple[Model, ...]
    combiner: Combiner

    @property
    def embeddings(self) -> tuple[ResolvedEmbedding, ...]:
        """All that its members take."""
        return tuple(dict.fromkeys(one for member in self.members for one in member.embeddings))

    @property
    def networks(self) -> "Mapping[EmbeddingRequest, Built]":
        """See `Model`."""
        return {key: network for member in self.members for key, network in member.networks.items()}

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """See `Model`; where networks are among the members, only images can be answered for."""
        for network in self._networks():
            network.predict_proba(x)
        return super().predict_proba(x)

    def _networks(self) -> Iterator["NetworkModel"]:
        for member in self.members:
            if isinstance(member, EnsembleModel):
                yield from member._networks()
            elif isinstance(member, NetworkModel):
                yield member

    @single_threaded()
    def predict_columns(self, columns: Columns) -> NDArray[np.float64]:
        """See `Model`."""
        said = np.stack([self._ordered(member, member.predict_columns(columns)) for member in self.members])
        rules = tuple(self._rule(member) for member in self.members)
        found = self.combiner.outputs(MemberOutputs(self.header.answers, self.classes, said, rules))
        return found / found.sum(axis=1, keepdims=True) if self.header.answers == "classes" else found

    def check_combiner(self) -> None:
        """Combine one row of equal answers; raises what numpy does where the combiner is of other members."""
        shape = (len(self.members), 1, len(self.classes))
        rules = tuple(self._rule(member) for member in self.members)
        found = self.combiner.outputs(MemberOutputs(self.header.answers, self.classes, np.full(shape, 0.5), rules))
        if found.shape != shape[1:]:
            raise ValueError(f"found answers of shape {found.shape}, expected {shape[1:]}")

    def _rule(self, member: Model) -> DecisionRule | None:
        """Return a member's decision rule, classes in our order."""
        rule = member.header.decision
        return None if rule is None else rule.ordered([member.classes.index(name) for name in self.classes])

    def _ordered(self, member: Model, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a member's answers, columns in our order; probabilities of classes sum to 1 in float64."""
        if set(member.classes) != set(self.classes):
            raise ArtifactError(
                f"a member answers {list(member.classes)!r}, expected {list(self.classes)!r}; the header of one was "
                "changed: run 'featx fit' and 'featx ensemble' again with '--force'"
            )
        if self.header.answers == "classes":
            outputs = outputs / outputs.sum(axis=1, keepdims=True)
        return outputs[:, [member.classes.index(name) for name in self.classes]]


def load(path: str | Path) -> Model:
    """Return a finished run as a model that answers.

    A head's ``model.joblib`` and an exported ``.joblib`` are pickles: opening one runs any code that its author put
    there, so load only those whose author you trust. Networks (safetensors) and exported ``.skops`` files run no code.

    Parameters
    ----------
    path
        A run folder, or the model inside; or what ``featx export`` wrote as skops or joblib, where the file's ending
        says which. An ensemble's members are looked for beside its folder.

    Raises
    ------
    ArtifactError
        there is no header, the body is not what the header says, or golden inputs are answered otherwise.
    """
    path = Path(path)
    return _exported(path) if is_exported(path) else _load(path, {})


def _exported(path: Path) -> Model:
    """Return an exported model; ``.joblib`` is unpickled, which runs code that stands in it, ``.skops`` never is."""
    import joblib

    passport = read_export_card(path)
    if path.suffix not in {".skops", ".joblib"}:
        raise ArtifactError(f"{path} is for ONNX Runtime; to use it with featx, load the run {passport.run!r}")
    read = skops_format.read if path.suffix == ".skops" else joblib.load
    return HeadModel(passport.run, passport.header, path.parent, replayed(path, passport.header, read))


def _load(path: Path, loaded: dict[Path, Model]) -> Model:
    """Load a run unless it is in `loaded`, where it is put; the heads of several votes are read once."""
    folder, header = read_header(path)
    if folder not in loaded:
        loaded[folder] = _load_anew(folder, header, loaded)
    return loaded[folder]


def _load_anew(folder: Path, header: Header, loaded: dict[Path, Model]) -> Model:
    if header.kind == "head":
        return HeadModel(folder.name, header, folder, load_head(folder, header))
    if header.kind == "network":
        network = NetworkModel(folder.name, header, folder.absolute())
        network.built  # noqa: B018 (checked as it is loaded, and kept for the images to come)
        return network
    return _load_ensemble(folder, header, loaded)


def _load_ensemble(folder: Path, header: Header, loaded: dict[Path, Model]) -> EnsembleModel:
    beneath(folder, header)  # all of them are there, and it is not among them
    fields = ensemble_body(folder, header)
    method, named = fields.pop("method"), fields.pop("members")
    vote: VotingMethod = VOTES.get(method)
    members = tuple(_load(folder.parent / name, loaded) for name in named)
    try:
        model = EnsembleModel(folder.name, header, folder, method, members, vote.read(fields))
        model.check_combiner()
    except (ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{folder / header.body} does not combine its {len(members)} members ({reason}); make the ensemble again "
            "with 'featx ensemble --force'"
        ) from error
    return model


def answers(model: Model, embedded: "EmbeddedFiles") -> Prediction:
    """Return a model's answers for embedded images."""
    classes = model.classes
    proba = model.predict_columns(embedded.columns) if embedded.images else np.empty((0, len(classes)))
    header = model.header
    warnings = [*embedded.warnings, *model.version_warnings]
    found = embedded.images, proba, classes, embedded.unreadable, warnings
    return Prediction(*found, kind=header.answers, conformal=header.conformal, decision=header.decision)


def predict(
    images: Sequence[str | Path] | str | Path,
    recipe: str | Path | Recipe | None = None,
    *,
    runs: Sequence[str] = (),
    device: str = "auto",
) -> dict[str, Prediction]:
    """Return the answers of a recipe's finished runs for images; each backbone sees each image once.

    The heads of these runs are unpickled, which runs any code that stands in them.

    Parameters
    ----------
    runs
        Names or how they begin; all finished runs of the recipe by default.

    Raises
    ------
    DataError
        no images are given.
    IncompleteError
        there is no finished run, or one is damaged and none is named.
    """
    from featx.embeddings.files import embed_files

    images = [images] if isinstance(images, str | Path) else images
    if not images:
        raise DataError("no images to predict; name one or more files")
    loaded: dict[Path, Model] = {}
    study = Study.open(recipe)
    if not runs and (damaged := study.damaged()):
        raise IncompleteError(f"{damaged[0].damage}, or name the runs to ask with '--run'")
    models = [_load(rescored(study, run).path, loaded) for run in study.runs(names=tuple(runs) or None)]
    needed = tuple(dict.fromkeys(one for model in models for one in model.embeddings_here))
    networks = {key: network for model in models for key, network in model.networks.items()}
    embedded = embed_files([str(image) for image in images], needed, device, networks)
    return {model.name: answers(model, embedded) for model in models}


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a recipe says, defaults included, or what a run says of itself (its golden inputs left out).

    Returns
    -------
    dict
        Of an ensemble also its method, the runs that it asks, and the cost of an answer; see `cost`.

    Raises
    ------
    RecipeError, ArtifactError
        it is neither.
    """
    if Path(path).suffix == ".toml":
        described: dict[str, Any] = masked_values(load_recipe(path).model_dump(mode="json"))
        return described
    folder, header = read_header(path)
    said = header.model_dump(mode="json", exclude={"golden"})
    if header.kind != "ensemble":
        return said
    body = ensemble_body(folder, header)
    return said | {"method": body["method"], "members": list(body["members"]), "cost": cost(folder, header)}


def cost(folder: Path, header: Header) -> dict[str, int]:
    """Return what an ensemble takes to answer.

    Returns
    -------
    dict
        ``n_models``: heads and networks that are asked. ``n_embeddings``: different ones that the heads stand on.
        ``n_networks``: how many networks see each image, backbones and members. ``size_bytes``: of the run folders
        without their logs; the backbones' weights come on top.
    """
    needed = {folder: header} | beneath(folder, header)
    models = [one for one in needed.values() if one.kind != "ensemble"]
    embeddings = {one.spec.fingerprint(): one for model in models for one in model.embeddings}
    backbones = {one.request.network_key for one in embeddings.values()}
    files = [place / name for place, one in needed.items() for name in (HEADER, one.body)]
    return {
        "n_models": len(models),
        "n_embeddings": len(embeddings),
        "n_networks": len(backbones) + sum(model.kind == "network" for model in models),
        "size_bytes": sum(file.stat().st_size for file in files),
    }
