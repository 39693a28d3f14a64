"""Canonical specs of fine-tuning: all specs that describe the same training become equal."""

from typing import Any

from featx.finetuning.strategies import canonical_strategy
from featx.networks.backbones import get_backbone
from featx.networks.features import preprocessing_for
from featx.specs.embedding import CHECKPOINT_PREFIX, Preprocessing
from featx.specs.finetuning import FROM_SCRATCH, FinetuneSpec, LossSpec, ScheduleSpec
from featx.specs.suitability import CLASS_LOSSES, LOSS_ACTIVATIONS
from featx.tables.ids import Kind

DEFAULT_LOSSES: dict[Kind, str] = {"classes": "cross_entropy", "numbers": "mse"}
# Parameters that each of featx's own losses reads. Losses of other packages may read all of them.
LOSS_PARAMETERS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("label_smoothing", "round_to", "bins"),
    "bce": ("label_smoothing", "round_to", "bins"),
    "focal": ("gamma", "round_to", "bins"),
    "ordinal": ("round_to", "bins"),
    "huber": ("delta",),
    **dict.fromkeys(("mse", "mae", "log_cosh", "poisson", "msle", "mape"), ()),
}
SCHEDULES_WITHOUT_PARAMETERS = {"constant", "cosine", "one-cycle"}
DEFAULTS = FinetuneSpec()


def canonical_spec(spec: FinetuneSpec, kind: Kind) -> FinetuneSpec:
    """Return the spec with all defaults written out and all keys without an effect at their defaults.

    Specs whose trainings are the same become equal, and have the same fingerprint.

    Parameters
    ----------
    kind
        Kind of the target, which decides about the default loss.
    """
    spec = _with_single_phase(spec)
    loss = _canonical_loss(spec.loss or LossSpec(name=DEFAULT_LOSSES[kind]))
    learns_classes = kind == "classes" or loss.name in CLASS_LOSSES
    own_activation = learns_classes and spec.layers.activation == LOSS_ACTIVATIONS.get(loss.name)
    update: dict[str, Any] = {
        **_canonical_start(spec),
        **_canonical_preprocessing(spec),
        **_canonical_choice(spec),
        "loss": loss,
        "layers": spec.layers.model_copy(update={"activation": "none"}) if own_activation else spec.layers,
        "schedule": ScheduleSpec(name=spec.schedule.name)
        if spec.schedule.name in SCHEDULES_WITHOUT_PARAMETERS
        else spec.schedule,
        "momentum": spec.momentum if spec.optimiser == "sgd" else DEFAULTS.momentum,
        "adversarial": None if spec.adversarial is None else spec.adversarial.canonical,
        # Views are cached activations, which perturbed images do not have.
        "views": None if spec.augment.does_nothing or spec.adversarial is not None else spec.views,
        "batch_norm": "keep" if spec.keeps_statistics else "learn",
        "group_weight": "+".join(sorted(set(spec.group_weight.split("+")))),
    }
    return spec.model_copy(update=update)


def _with_single_phase(spec: FinetuneSpec) -> FinetuneSpec:
    """Return a spec with one phase as the strategy of this phase."""
    if len(spec.phases) != 1:
        return spec
    (phase,) = spec.phases
    update = {"strategy": phase.trainable, "lr": phase.lr, "epochs": phase.epochs, "phases": ()}
    return spec.model_copy(update=update)


def _canonical_start(spec: FinetuneSpec) -> dict[str, Any]:
    """Return strategy, weights, phases, rate and number of epochs; all layers from random weights are ``scratch``."""
    phases = tuple(phase.model_copy(update={"trainable": canonical_strategy(phase.trainable)}) for phase in spec.phases)
    strategy, weights = canonical_strategy(spec.strategy), spec.request.weights
    if strategy == "all" and weights == "none":
        strategy = FROM_SCRATCH
    rate = {"lr": DEFAULTS.lr, "epochs": DEFAULTS.epochs} if phases else {"lr": spec.initial_lr}
    has_no_blocks = strategy == "head"
    decay = DEFAULTS.block_decay if has_no_blocks else spec.block_decay
    return {"strategy": strategy, "weights": weights, "phases": phases, "block_decay": decay, **rate}


def _canonical_loss(loss: LossSpec) -> LossSpec:
    """Return a loss without the parameters that it does not read."""
    if loss.name not in LOSS_PARAMETERS:
        return loss
    return LossSpec(name=loss.name, **{name: getattr(loss, name) for name in LOSS_PARAMETERS[loss.name]})


def _canonical_choice(spec: FinetuneSpec) -> dict[str, Any]:
    """Return the keys of early stopping; without monitored rows the last weights are kept."""
    holdout = spec.holdout_share
    if spec.monitor == "val" or holdout:
        return {"holdout": holdout}
    return {"holdout": holdout, "patience": 0, "choose_by": DEFAULTS.choose_by}


def _canonical_preprocessing(spec: FinetuneSpec) -> dict[str, None]:
    """Return None for each key of the preprocessing that states what the backbone has without it."""
    # The network of a run may not be trained yet.
    if spec.backbone.startswith(CHECKPOINT_PREFIX):
        return {}
    backbone_preprocessing = get_backbone(spec.backbone).preprocessing
    request, expected_preprocessing = spec.request, preprocessing_for(spec.request, backbone_preprocessing)
    redundant_fields = []
    for name in Preprocessing.model_fields:
        if name == "views" or getattr(request, name) is None:
            continue
        shorter = request.model_copy(update={name: None})
        if preprocessing_for(shorter, backbone_preprocessing) == expected_preprocessing:
            request = shorter
            redundant_fields.append(name)
    return dict.fromkeys(redundant_fields)
