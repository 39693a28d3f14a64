"""Specs of fine-tuning: layers, loss, phases, schedule, augmentation and defences."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from featx.registry import BACKBONES, FAMILIES, LOSSES
from featx.specs.base import Count, Seed, Share, Spec, check_registered
from featx.specs.corrupting import check_kinds
from featx.specs.defences import AdversarialSpec, DistillationSpec
from featx.specs.embedding import Channels, EmbeddingRequest, Interpolation, Resize
from featx.specs.head import ClassWeight

Activation = Literal["none", "sigmoid", "tanh", "softmax"]
Optimiser = Literal["adam", "adamw", "sgd", "adadelta"]
Monitor = Literal["holdout", "val"]
Scale = Literal["none", "unit", "symmetric", "standard"]
LearningRate = Annotated[float, Field(gt=0, le=10)]
MAX_HOLDOUT = 0.5
# Share of train that is held out unless a recipe states another one.
DEFAULT_HOLDOUT = 0.1
# Learning rates of new layers on a frozen network and of a network with random weights, and of pretrained layers.
NEW_LAYERS_LR = 1e-3
PRETRAINED_LR = 1e-4
FROM_SCRATCH = "scratch"
# Fields that are None unless a recipe asks for a defence.
DEFENCES = frozenset({"adversarial", "distillation"})
REQUEST_FIELDS = ("backbone", "weights", "size_px", "resize", "crop_share", "interpolation", "mean", "std")


def check_backbone(name: str) -> str:
    """Return a backbone's name if the backbone, or the family before a colon, is registered.

    Raises
    ------
    ValueError
        The name is not registered; pydantic reports the message for the key that holds the name.
    """
    family, colon, _ = name.partition(":")
    check_registered(FAMILIES, family) if colon else check_registered(BACKBONES, name)
    return name


def _name_to_table(value: Any) -> Any:
    """Return a bare name as a table with this name alone, and anything else unchanged."""
    return {"name": value} if isinstance(value, str) else value


class LayersSpec(Spec):
    """The new layers that fine-tuning adds on top of a backbone's trunk.

    Attributes
    ----------
    pool
        Pooling from (c, h, w) to a vector.
    batch_norm
        Whether the vector is batch-normalised first.
    hidden
        Widths of up to three fully connected layers with ReLU.
    dropout
        Share of the last of these layers that is dropped in training; a list has one share for each of them.
    activation
        Activation of the output; ``none`` for classes, whose loss has its own.
    """

    pool: Literal["avg", "gem", "flatten", "cls"] = "avg"
    batch_norm: bool = False
    hidden: Annotated[tuple[Count, ...], Field(max_length=3)] = (256,)
    dropout: Share | tuple[Share, ...] = 0.5
    activation: Activation = "none"

    @model_validator(mode="after")
    def _check_dropout(self) -> "LayersSpec":
        if isinstance(self.dropout, tuple) and len(self.dropout) != len(self.hidden):
            raise ValueError(
                f"found {len(self.dropout)} shares of dropout for {len(self.hidden)} hidden layers, expected one each, "
                "or one number for the last layer"
            )
        return self


class LossSpec(Spec):
    """The loss that training minimises.

    Attributes
    ----------
    name
        Name registered in ``featx.losses``.
    label_smoothing
        Share of each row's target that ``cross_entropy`` and ``bce`` spread over all classes.
    gamma
        Exponent of ``focal``; 0 is cross-entropy.
    delta
        Error up to which ``huber`` is quadratic.
    round_to
        Step to whose multiples numbers are rounded where a loss of classes learns them; by default they are not.
    bins
        Number of bins of equal width, or the edges between bins, where a loss of classes learns numbers. A bin stands
        for the mean of its train rows.
    """

    name: str = "cross_entropy"
    label_smoothing: Share = 0.0
    gamma: Annotated[float, Field(ge=0)] = 2.0
    delta: Annotated[float, Field(gt=0)] = 1.0
    round_to: Annotated[float, Field(gt=0)] | None = None
    bins: Annotated[int, Field(ge=2)] | Annotated[tuple[float, ...], Field(min_length=1)] | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_registered(LOSSES, name)

    @model_validator(mode="after")
    def _check_bins(self) -> "LossSpec":
        if self.bins is not None and self.round_to is not None:
            raise ValueError("'round_to' and 'bins' both make classes of numbers, expected one of them")
        if isinstance(self.bins, tuple) and list(self.bins) != sorted(set(self.bins)):
            raise ValueError(f"expected bins = [b0, b1, …] in rising order, found {list(self.bins)!r}")
        return self


class PhaseSpec(Spec):
    """A phase of training with its own trainable layers and learning rate.

    Attributes
    ----------
    trainable
        Trainable layers, named as in `FinetuneSpec.strategy`.
    lr
        Initial learning rate.
    epochs
        Maximum number of epochs.
    """

    trainable: str
    lr: LearningRate
    epochs: Count


class ScheduleSpec(Spec):
    """The schedule of the learning rate; it starts anew in each phase.

    Attributes
    ----------
    name
        ``constant``; ``step``: × `factor` after every `epochs`; ``hold``: constant for `epochs`, then × `factor` each
        epoch; ``cosine``: down to zero; ``one-cycle``: up to the rate and down to zero, changed at each step;
        ``plateau``: × `factor` when the monitored value has not become better for `epochs`.
    factor
        Factor in (0, 1) of each decrease.
    epochs
        Number of epochs between or before decreases.
    """

    name: Literal["constant", "step", "hold", "cosine", "one-cycle", "plateau"] = "constant"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.4
    epochs: Count = 3


class AugmentSpec(Spec):
    """Random augmentation of training images: torchvision's transforms, then corruptions (docs/corruptions.md).

    Attributes
    ----------
    flip
        Whether images are mirrored with probability 1/2.
    rotation_deg
        Maximum rotation in degrees, in either direction.
    shift
        Maximum shift as a share of the side, in each direction.
    colour
        Maximum relative change of brightness, contrast and saturation.
    randaugment
        Number of RandAugment operations.
    noise
        Largest standard deviation of normal noise, for pixels in [0, 1]; each image gets a random one below it.
    corruptions
        Kinds of corruptions or groups of them, as in ``[corruption]``; an image gets one of them at a random severity.
    corruption_share
        Probability with which an image gets one of the `corruptions`.
    """

    flip: bool = False
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    colour: Share = 0.0
    randaugment: Annotated[int, Field(ge=0, le=10)] = 0
    noise: Share = 0.0
    corruptions: tuple[str, ...] = ()
    corruption_share: Annotated[float, Field(gt=0, le=1)] = 0.5

    @field_validator("corruptions")
    @classmethod
    def _check_corruptions(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return check_kinds(kinds)

    @property
    def does_nothing(self) -> bool:
        """Whether images stay unchanged."""
        return not self.corruptions and self == AugmentSpec(corruption_share=self.corruption_share)


class FinetuneSpec(Spec):
    """One network to fine-tune.

    Attributes
    ----------
    backbone, weights, size_px, resize, crop_share, interpolation, mean, std
        Backbone and preprocessing, with the same meaning as in an ``[[embedding]]``.
    strategy
        Layers that are trained in addition to the new ones: ``head`` (none), ``last-block``, ``last-N-blocks``,
        ``all``, ``scratch`` (all, from random weights), ``progressive`` (set by `phases`), or names of blocks and
        layers joined by ``+``.
    phases
        Phases of ``progressive``, in order.
    lr
        Learning rate; not for ``progressive``, whose phases have their own. The default is 1e-3 for ``head`` and for
        random weights, and 1e-4 if pretrained layers are trained.
    epochs
        Maximum number of epochs; not for ``progressive``, whose phases have their own.
    batch_size
        Images per batch.
    accumulate
        Batches per optimiser step.
    optimiser, momentum, weight_decay
        Optimiser and its parameters; ``momentum`` applies to ``sgd`` only.
    block_decay
        Factor on the learning rate for each block further below the topmost trained block.
    schedule, loss, layers, augment
        Learning-rate schedule, loss, new layers and augmentation; a schedule or loss may be given by its name alone.
        The default loss is cross-entropy for classes and the mean squared error for numbers.
    adversarial
        Adversarial training ``{ attack, eps, share, steps, replays }``; the frozen layers then run in every epoch.
    distillation
        Training on the softened probabilities of a finished run, ``{ teacher, temperature }``, instead of the labels.
    views
        Number of augmented views of each image whose activations are cached at a boundary. By default one per epoch, or
        no cache if running the frozen layers in every epoch costs less.
    class_weight
        Weights of classes, with the same meaning as in a ``[[head]]``.
    group_weight
        Name of a group of ``[groups]``, or several joined by ``+``, whose values get equal total weight; ``none``.
        Images without a value belong to no group and have weight 1.
    scale
        Scaling of numbers for training: ``none``, or by the train rows to [0, 1] (``unit``), [-1, 1] (``symmetric``) or
        mean 0 and standard deviation 1 (``standard``); predictions are scaled back.
    batch_norm
        Whether BatchNorm of trained layers takes its statistics from batches (``learn``) or keeps the pretrained ones
        (``keep``); by default (``auto``) it learns only when it starts from random weights.
    monitor
        Rows that stop the training and choose the epoch whose weights are kept: ``holdout``, a part of train, or
        ``val``. With ``val`` all train rows are trained on, and scores on val are optimistic, which is reported.
    holdout
        Share of train that is held out with ``monitor = "holdout"``, by default 0.1; with 0 the last weights are kept.
    choose_by
        Measure of the monitored rows by which the best epoch is chosen: ``loss``, or ``score``, the metric of the
        target.
    patience
        Number of epochs without a better monitored value after which a phase ends; with 0 all epochs run, and the best
        weights are kept.
    precision
        Precision of the trained layers' arithmetic; ``bf16`` and ``fp16`` are mixed with fp32.
    seed
        Seed of new weights, order, dropout, augmentation and holdout.
    """

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
    lr: LearningRate | None = None
    epochs: Count = 10
    batch_size: Count = 32
    accumulate: Count = 1
    optimiser: Optimiser = "adam"
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    block_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    schedule: Annotated[ScheduleSpec, BeforeValidator(_name_to_table)] = ScheduleSpec()
    loss: Annotated[LossSpec, BeforeValidator(_name_to_table)] | None = None
    layers: LayersSpec = LayersSpec()
    augment: AugmentSpec = AugmentSpec()
    adversarial: AdversarialSpec | None = None
    distillation: DistillationSpec | None = None
    views: Count | None = None
    class_weight: ClassWeight = "none"
    group_weight: str = "none"
    scale: Scale = "none"
    batch_norm: Literal["auto", "learn", "keep"] = "auto"
    monitor: Monitor = "holdout"
    holdout: Annotated[float, Field(ge=0, le=MAX_HOLDOUT)] | None = None
    choose_by: Literal["loss", "score"] = "loss"
    patience: Annotated[int, Field(ge=0)] = 5
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: Seed = 0

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, name: str) -> str:
        return check_backbone(name)

    @model_validator(mode="after")
    def _check_phases(self) -> "FinetuneSpec":
        if (self.strategy == "progressive") != bool(self.phases):
            raise ValueError(
                f"found strategy = {self.strategy!r} with {len(self.phases)} phases; expected both strategy = "
                "'progressive' and phases = [{ trainable, lr, epochs }, …], or neither"
            )
        if invalid_values := [
            phase.trainable for phase in self.phases if phase.trainable in {FROM_SCRATCH, "progressive"}
        ]:
            raise ValueError(
                f"found a phase with trainable = {invalid_values[0]!r}, expected 'head', 'last-N-blocks', 'all' or "
                "named blocks; for random weights set weights = 'none'"
            )
        return self

    @model_validator(mode="after")
    def _check_scratch_has_no_weights(self) -> "FinetuneSpec":
        if self.strategy == FROM_SCRATCH and self.weights not in {"default", "none"}:
            raise ValueError(
                f"strategy 'scratch' starts from random weights, found weights = {self.weights!r}; set "
                "strategy = 'all' to use them"
            )
        return self

    @model_validator(mode="after")
    def _check_holdout_is_monitored(self) -> "FinetuneSpec":
        if self.monitor == "val" and self.holdout:
            raise ValueError(
                f"found monitor = 'val' with holdout = {self.holdout:g}; expected no holdout, because all train rows "
                "are trained on and val is monitored; remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _check_distillation(self) -> "FinetuneSpec":
        if self.distillation is None:
            return self
        if self.loss not in {None, LossSpec()}:
            raise ValueError(
                "distillation trains with the cross-entropy against the teacher's probabilities, found another loss; "
                "remove 'loss'"
            )
        if self.class_weight != "none":
            raise ValueError("distillation learns the probabilities of a teacher, not classes; remove 'class_weight'")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the fields that the fingerprint is computed from; a defence that is not used is left out."""
        fields = super().identity()
        return {name: value for name, value in fields.items() if name not in DEFENCES or value is not None}

    @property
    def request(self) -> EmbeddingRequest:
        """The backbone with its preprocessing as the request of an embedding."""
        fields = {name: getattr(self, name) for name in REQUEST_FIELDS}
        weights = "none" if self.strategy == FROM_SCRATCH else self.weights
        return EmbeddingRequest(**fields | {"weights": weights, "precision": "fp32"})

    @property
    def keeps_statistics(self) -> bool:
        """Whether BatchNorm of trained layers keeps the statistics that it came with."""
        is_pretrained = self.request.weights != "none"
        return self.batch_norm == "keep" or (self.batch_norm == "auto" and is_pretrained)

    @property
    def training_phases(self) -> tuple[PhaseSpec, ...]:
        """The phases in order; a single one unless the strategy is ``progressive``."""
        return self.phases or (PhaseSpec(trainable=self.strategy, lr=self.initial_lr, epochs=self.epochs),)

    def limit_phases(self, max_epochs: int) -> tuple[PhaseSpec, ...]:
        """Return `phases` with at most a number of epochs each; empty unless the strategy is ``progressive``."""
        return tuple(phase.model_copy(update={"epochs": min(phase.epochs, max_epochs)}) for phase in self.phases)

    @property
    def initial_lr(self) -> float:
        """The learning rate of the single phase: `lr`, or the default of the strategy."""
        has_new_weights = self.strategy in {"head", FROM_SCRATCH} or self.request.weights == "none"
        return self.lr or (NEW_LAYERS_LR if has_new_weights else PRETRAINED_LR)

    @property
    def holdout_share(self) -> float:
        """The share of train that is held out; 0 if val is monitored."""
        if self.monitor == "val":
            return 0.0
        return DEFAULT_HOLDOUT if self.holdout is None else self.holdout
