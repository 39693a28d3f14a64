"""What a fine-tuning is made of, written down: layers, loss, phases, schedule, augmentation."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from featx.registry import BACKBONES, FAMILIES, LOSSES
from featx.specs.base import Count, Share, Spec, known_name
from featx.specs.embedding import Channels, EmbeddingRequest, Interpolation, Preprocessing, Resize
from featx.specs.head import ClassWeight

Activation = Literal["none", "sigmoid", "tanh", "softmax"]
Optimiser = Literal["adam", "adamw", "sgd", "adadelta"]
Scale = Literal["none", "unit", "symmetric", "standard"]
LearningRate = Annotated[float, Field(gt=0, le=10)]
MOST_LOST = 0.5  # of train, for stopping early
FROM_NOTHING = "scratch"


def known_backbone(name: str) -> str:
    """Return a backbone's name, or raise the ValueError that pydantic turns into a problem of its key."""
    family, colon, _ = name.partition(":")
    known_name(FAMILIES, family) if colon else known_name(BACKBONES, name)
    return name


def _named(value: Any) -> Any:
    """Let a name stand for the table that says nothing else."""
    return {"name": value} if isinstance(value, str) else value


class LayersSpec(Spec):
    """The new layers that fine-tuning puts on a trunk.

    Attributes
    ----------
    pool
        How (c, h, w) becomes a vector.
    batch_norm
        Whether the vector is normalised first.
    hidden
        Widths of fully connected layers with ReLU, up to three.
    dropout
        Share of the last of those that is dropped in training.
    activation
        Of the output; classes have the one that belongs to their loss, and say ``none``.
    """

    pool: Literal["avg", "gem", "flatten"] = "avg"
    batch_norm: bool = False
    hidden: Annotated[tuple[Count, ...], Field(max_length=3)] = (256,)
    dropout: Share = 0.5
    activation: Activation = "none"


class LossSpec(Spec):
    """What training makes small.

    Attributes
    ----------
    name
        A name of ``featx.losses``.
    label_smoothing
        Of ``cross_entropy`` and ``bce``: so much of each row's target is spread over all classes.
    gamma
        Of ``focal``: 0 is cross-entropy.
    delta
        Of ``huber``: up to this error it is squared.
    """

    name: str = "cross_entropy"
    label_smoothing: Share = 0.0
    gamma: Annotated[float, Field(ge=0)] = 2.0
    delta: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        return known_name(LOSSES, name)


class PhaseSpec(Spec):
    """A stretch of training with its own learning rate.

    Attributes
    ----------
    learns
        As `FinetuneSpec.strategy`.
    """

    learns: str
    lr: LearningRate
    epochs: Count


class ScheduleSpec(Spec):
    """How the learning rate goes on, in each phase anew.

    Attributes
    ----------
    name
        ``constant``; ``step``: × `factor` after every `epochs`; ``hold``: constant for `epochs`, then × `factor` each
        epoch; ``cosine`` to zero; ``one-cycle``: up to the rate and down to nothing, step by step; ``plateau``: ×
        `factor` where the held-out loss has not fallen for `epochs`.
    """

    name: Literal["constant", "step", "hold", "cosine", "one-cycle", "plateau"] = "constant"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.4
    epochs: Count = 3


class AugmentSpec(Spec):
    """What happens at random to an image before it is learnt from (torchvision's transforms).

    Attributes
    ----------
    flip
        Mirror every other one.
    rotation_deg
        Turn by up to so many degrees either way.
    shift
        Move by up to this share of its side, each way.
    colour
        Change brightness, contrast and saturation by up to this share.
    randaugment
        So many of RandAugment's operations.
    """

    flip: bool = False
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    colour: Share = 0.0
    randaugment: Annotated[int, Field(ge=0, le=10)] = 0

    @property
    def does_nothing(self) -> bool:
        """Whether an image stays what it is."""
        return self == AugmentSpec()


class FinetuneSpec(Spec):
    """One fine-tuned network.

    Attributes
    ----------
    backbone, weights, size_px, resize, crop_share, interpolation, mean, std
        As of an ``[[embedding]]``.
    strategy
        What learns beside the new layers: ``head`` (nothing), ``last-block``, ``last-N-blocks``, ``all``, ``scratch``
        (all, from random weights), ``progressive`` (what `phases` say), or names of blocks and layers joined by ``+``.
    phases
        Of ``progressive``, in their order.
    lr, epochs
        Of the one phase that the other strategies have.
    batch_size, accumulate
        Images in a pass, and passes in a step.
    optimiser, momentum, weight_decay
        ``momentum`` is that of ``sgd``.
    block_decay
        Each block below the topmost that learns has its learning rate times this once more.
    schedule, loss, layers, augment
        See their specs; a name stands for a schedule or a loss. The loss is by default cross-entropy for classes and
        the mean squared error for numbers.
    views
        Augmented views of each image that a boundary keeps; by default one an epoch, or none are kept where running
        the frozen part in every epoch costs less.
    class_weight
        As of a ``[[head]]``.
    group_weight
        A group of ``[groups]``, or several joined by ``+``: each of its values weighs the same; ``none``.
    scale
        Numbers are learnt as they are, or brought to [0, 1] (``unit``), [-1, 1] (``symmetric``) or mean 0 and standard
        deviation 1 (``standard``) by the train rows; answers are brought back.
    batch_norm
        Whether BatchNorm of layers that learn takes its statistics from batches (``learn``) or keeps those that it came
        with (``keep``); by default (``auto``) it learns only where it starts from random weights.
    holdout
        Share of train that is held out to stop early by; 0: the last weights are kept.
    patience
        Epochs without a lower held-out loss after which a phase ends; 0: all epochs run, and the best weights are kept.
    precision
        Of the arithmetic where a network learns; ``bf16`` and ``fp16`` are mixed with fp32.
    seed
        Of new weights, order, dropout, augmentation and what is held out.
    """

    added_later: ClassVar[Mapping[str, object]] = {"batch_norm": "learn"}

    backbone: str = "efficientnet_lite0"
    weights: str = "default"
    size_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    resize: Resize | None = None
    crop_share: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Interpolation | None = None
    mean: Channels | None = None
    std: Channels | None = None
    strategy: str = "last-block"
    phases: tuple[PhaseSpec, ...] = ()
    lr: LearningRate = 1e-4
    epochs: Count = 10
    batch_size: Count = 32
    accumulate: Count = 1
    optimiser: Optimiser = "adam"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    block_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    schedule: Annotated[ScheduleSpec, BeforeValidator(_named)] = ScheduleSpec()
    loss: Annotated[LossSpec, BeforeValidator(_named)] | None = None
    layers: LayersSpec = LayersSpec()
    augment: AugmentSpec = AugmentSpec()
    views: Count | None = None
    class_weight: ClassWeight = "none"
    group_weight: str = "none"
    scale: Scale = "none"
    batch_norm: Literal["auto", "learn", "keep"] = "auto"
    holdout: Annotated[float, Field(ge=0, le=MOST_LOST)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 5
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        return known_backbone(name)

    @model_validator(mode="after")
    def _phases_belong_to_progressive(self) -> "FinetuneSpec":
        if (self.strategy == "progressive") != bool(self.phases):
            raise ValueError("strategy 'progressive' and phases = [{ learns, lr, epochs }, …] go together")
        if any(phase.learns in {FROM_NOTHING, "progressive"} for phase in self.phases):
            raise ValueError(
                "a phase learns 'head', 'last-N-blocks', 'all' or named blocks; for random weights say weights = 'none'"
            )
        return self

    @model_validator(mode="after")
    def _nothing_has_no_weights(self) -> "FinetuneSpec":
        if self.strategy == FROM_NOTHING and self.weights not in {"default", "none"}:
            raise ValueError(
                "strategy 'scratch' begins with random weights, found weights as well; say strategy = 'all'"
            )
        return self

    @property
    def request(self) -> EmbeddingRequest:
        """The backbone with its preprocessing, as an embedding asks for it."""
        shared = {name: getattr(self, name) for name in EmbeddingRequest.model_fields if name in REQUESTED}
        weights = "none" if self.strategy == FROM_NOTHING else self.weights
        return EmbeddingRequest(**shared | {"weights": weights, "precision": "fp32"})

    @property
    def keeps_statistics(self) -> bool:
        """Whether BatchNorm stays as it came where its layer learns."""
        trained = self.request.weights != "none"
        return self.batch_norm == "keep" or (self.batch_norm == "auto" and trained)

    @property
    def course(self) -> tuple[PhaseSpec, ...]:
        """The phases in their order; one but for ``progressive``."""
        return self.phases or (PhaseSpec(learns=self.strategy, lr=self.lr, epochs=self.epochs),)


REQUESTED = ("backbone", "weights", "size_px", "resize", "crop_share", "interpolation", "mean", "std")


class NetworkSpec(Spec):
    """What a fine-tuned network is made of, and how its outputs become answers.

    Attributes
    ----------
    request, preprocessing
        The backbone that it began as, and what it takes.
    n_outputs
        m.
    offset, factor
        Of numbers: answer = output × factor + offset, for each.
    values
        Of numbers learnt as classes: what each class stands for; the answer is their mean by probability.
    class_weights
        That classes had in training, which are divided out of the probabilities; empty where all had the same.
    """

    request: EmbeddingRequest
    preprocessing: Preprocessing
    layers: LayersSpec
    loss: LossSpec
    n_outputs: Count
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    class_weights: tuple[float, ...] = ()
