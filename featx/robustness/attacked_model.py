"""Runs as differentiable functions of pixels: resizing, normalisation, network, head and vote in one torch module."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featx.errors import UnsuitedError
from featx.finetuning.losses import build_loss
from featx.predictors.models import EnsembleModel, HeadModel, Model, NetworkModel
from featx.robustness.differentiable_heads import make_differentiable
from featx.robustness.differentiable_votes import make_differentiable_vote
from featx.robustness.pixel_embedder import Features, PixelEmbedder, fp32_fingerprint, make_embedders, raw_name
from featx.specs.trained_network import NetworkSpec
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Kind

# Smallest probability in double precision whose logarithm is taken.
MIN_PROBABILITY = 1e-300
# The same for labels, whose probabilities of 1 are near numbers of larger distance.
MIN_LABEL_PROBABILITY = 1e-12


class AttackedModel(nn.Module):
    """A loaded run as a function of pixels; weights are fixed.

    Parameters
    ----------
    model
        Head, network or ensemble, all of whose members take images of one size.
    needs_gradient
        Whether a head or a vote without gradient is refused; otherwise it predicts as always, and `has_gradient` is
        False.
    embedders
        Networks that several runs share (`featx.robustness.pixel_embedder.make_embedders`); by default they are built
        for this run.

    Attributes
    ----------
    kind
        Kind of the target.
    classes
        Names of the classes in the order of the scores.
    preprocessing
        Preprocessing of the images, normalisation excluded.
    side_px
        Side of the square images that the first network takes.
    embedders
        Networks whose features the scores are made of.
    gradient_problem
        Reason why the scores have no exact gradients; empty if they have.

    Raises
    ------
    UnsuitedError
        A head or a vote has no gradient although it is needed, or members take images of different sizes.
    """

    def __init__(
        self, model: Model, needs_gradient: bool = True, embedders: Sequence[PixelEmbedder] | None = None
    ) -> None:
        super().__init__()
        self.kind: Kind = model.header.prediction_kind
        self.classes = model.classes
        fingerprints = {fp32_fingerprint(embedding) for embedding in model.local_embeddings}
        all_embedders = make_embedders([model]) if embedders is None else embedders
        embedders = [embedder for embedder in all_embedders if fingerprints & set(embedder.names)]
        self.embedders = nn.ModuleList(embedders)
        sizes = {embedder.side_px for embedder in embedders}
        if len(sizes) > 1 and not embedders[0].resizes:
            raise UnsuitedError(
                f"members of {model.name} take images of {', '.join(map(str, sorted(sizes)))} px, and the images have "
                "several sizes, so that they cannot be attacked before they are resized: attack the members"
            )
        self.side_px = embedders[0].side_px
        self.preprocessing = embedders[0].network.preprocessing
        self.gradient_problem = find_gradient_problem(model)
        if self.gradient_problem and needs_gradient:
            raise UnsuitedError(self.gradient_problem)
        self._scores = _PredictedScores(model) if self.gradient_problem else _make_scores(model)
        self._rule = model.header.decision
        self.eval().requires_grad_(False)

    @property
    def has_gradient(self) -> bool:
        """Whether the scores have exact gradients."""
        return not self.gradient_problem

    def forward(self, pixels: Tensor) -> Tensor:
        """Return scores (b, k) in double precision (`featx.robustness.differentiable_heads`).

        Parameters
        ----------
        pixels
            (b, 3, side_px, side_px) pixels in [0, 1], after resizing and cropping; (b, 3, h, w) pixels of whole
            pictures if the embedders resize them.
        """
        features: dict[str, Tensor] = {}
        for embedder in self.embedders:
            features |= embedder(pixels)
        return self.from_features(features)

    def from_features(self, features: Features) -> Tensor:
        """Return scores (b, k) from features that shared embedders computed."""
        scores: Tensor = self._scores(features)
        return scores

    def margins(self, scores: Tensor) -> Tensor:
        """Return scores with the weights of the decision rule, so that the largest one is the decision."""
        return scores if self._rule is None else scores + _log_weights(self._rule, scores)

    def decide(self, scores: Tensor) -> Tensor:
        """Return (b,) codes of the predicted classes."""
        return self.margins(scores).argmax(dim=1)


def find_gradient_problem(model: Model) -> str:
    """Return the reason why the scores of a run have no exact gradients; empty if they have."""
    try:
        _make_scores(model)
    except UnsuitedError as error:
        return str(error)
    return ""


def _log_weights(rule: DecisionRule, reference: Tensor) -> Tensor:
    return torch.tensor(rule.weights, dtype=reference.dtype, device=reference.device).log()


@dataclass(frozen=True)
class _Member:
    """A member of an ensemble: its scores, with columns in the order of the ensemble."""

    scores: nn.Module
    columns: tuple[int, ...]


def _make_scores(model: Model) -> nn.Module:
    """Return the part of a run behind its embeddings."""
    if isinstance(model, HeadModel):
        names = [fp32_fingerprint(embedding) for embedding in model.local_embeddings]
        return _HeadScores(names, make_differentiable(model.model, model.header.prediction_kind))
    if isinstance(model, NetworkModel):
        assert model.header.network is not None
        return _NetworkScores(raw_name(fp32_fingerprint(model.local_embeddings[0])), model.header.network)
    if isinstance(model, EnsembleModel):
        members = [_Member(_make_scores(member), _columns(member, model)) for member in model.members]
        return _VoteScores(model, members)
    raise UnsuitedError(f"{model.name} is a {type(model).__name__}, expected a head, a network or an ensemble")


def _columns(member: Model, ensemble: EnsembleModel) -> tuple[int, ...]:
    return tuple(member.classes.index(name) for name in ensemble.classes)


class _PredictedScores(nn.Module):
    """Scores of any run as it predicts, without gradient."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.names = {embedding.spec.fingerprint(): fp32_fingerprint(embedding) for embedding in model.local_embeddings}
        self.model = model

    def forward(self, features: Features) -> Tensor:
        columns = {name: features[fp32].detach().cpu().numpy() for name, fp32 in self.names.items()}
        outputs = torch.as_tensor(self.model.predict_columns(columns), dtype=torch.float64)
        if self.model.header.prediction_kind == "numbers":
            return outputs
        if self.model.header.prediction_kind == "labels":
            return outputs.logit(eps=MIN_LABEL_PROBABILITY)
        return outputs.clamp(min=MIN_PROBABILITY).log()


class _HeadScores(nn.Module):
    """Scores of a head from its embeddings, joined side by side."""

    def __init__(self, names: Sequence[str], head: nn.Module) -> None:
        super().__init__()
        self.names, self.head = tuple(names), head

    def forward(self, features: Features) -> Tensor:
        x = torch.cat([features[name] for name in self.names], dim=1)
        scores: Tensor = self.head(x.double())
        return scores


class _NetworkScores(nn.Module):
    """Scores of a fine-tuned network from its raw outputs."""

    def __init__(self, name: str, spec: NetworkSpec) -> None:
        super().__init__()
        if spec.offset or spec.values:
            raise UnsuitedError("attacks on networks for numbers are not supported")
        self.name, self.spec = name, spec

    def forward(self, features: Features) -> Tensor:
        proba = build_loss(self.spec.loss, True).predict(features[self.name].double())
        scores = proba.clamp(min=MIN_PROBABILITY).log()
        if self.spec.class_weights:
            scores = scores - torch.tensor(self.spec.class_weights, dtype=scores.dtype, device=scores.device).log()
        return scores


class _VoteScores(nn.Module):
    """Scores of an ensemble from those of its members."""

    def __init__(self, model: EnsembleModel, members: Sequence[_Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(member.scores for member in members)
        self.columns = [list(member.columns) for member in members]
        self.vote = make_differentiable_vote(model.combiner, model.header.prediction_kind, model.classes)

    def forward(self, features: Features) -> Tensor:
        scores = [member(features)[:, columns] for member, columns in zip(self.members, self.columns, strict=True)]
        vote_scores: Tensor = self.vote(torch.stack(list(scores)))
        return vote_scores
