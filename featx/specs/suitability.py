"""Checks of sections against the targets that they apply to, made when a recipe is read.

Only what the recipe states is checked: kinds of targets, numbers and names of classes, and the built-in heads, losses
and ensemble methods, without an import of any of them. Entries of other packages, and what depends on the labels, are
checked before the first run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from featx.registry import suggest_names
from featx.specs.ensembling import EnsembleSpec
from featx.specs.finetuning import FinetuneSpec, LossSpec
from featx.specs.head import HeadSpec, Metric
from featx.specs.sections import FinetuneSection
from featx.specs.target import Kind, TargetSpec

# The metrics that a recipe may choose by, the default first.
METRICS: dict[Kind, tuple[Metric, ...]] = {
    "classes": ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "quadratic_kappa"),
    "labels": ("average_precision", "accuracy", "exact_match", "macro_f1", "log_loss"),
    "numbers": ("mae", "rmse", "r2", "pearson", "ccc"),
}
CLASSIFIER_HEADS = frozenset({"logreg", "lda"})
HEADS_WITHOUT_WEIGHTS = frozenset({"knn", "lda"})
# The built-in losses that learn numbers only, and those that learn numbers as classes.
NUMBER_LOSSES = frozenset({"huber", "log_cosh", "poisson", "msle", "mape"})
CLASS_LOSSES = frozenset({"cross_entropy", "focal", "bce", "ordinal"})
# The activation that each loss applies itself where the target has classes.
LOSS_ACTIVATIONS = {
    "cross_entropy": "softmax",
    "focal": "softmax",
    "bce": "sigmoid",
    "ordinal": "sigmoid",
    "mse": "softmax",
    "mae": "softmax",
}
# The built-in ensemble methods that do not combine all kinds of targets.
VOTE_KINDS: dict[str, tuple[Kind, ...]] = {
    "majority": ("classes", "labels"),
    "confidence": ("classes", "labels"),
    "mean": ("numbers",),
    "median": ("numbers",),
}
# A key of a section, and what is wrong with its value.
Problem = tuple[str, str]


def suited_metrics(kind: Kind, ordered: bool) -> tuple[Metric, ...]:
    """Return the metrics that are defined for a kind of target: ``quadratic_kappa`` needs ordered classes."""
    return tuple(metric for metric in METRICS[kind] if ordered or metric != "quadratic_kappa")


@dataclass(frozen=True)
class NamedTarget:
    """A target with its name in the recipe.

    Attributes
    ----------
    name
        Name of the target.
    spec
        The target.
    """

    name: str
    spec: TargetSpec

    @property
    def kind(self) -> Kind:
        """Kind of the target."""
        return self.spec.kind

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that are defined for the target."""
        return suited_metrics(self.kind, self.spec.ordered)

    def __str__(self) -> str:
        return f"target {self.name!r} is of {self.kind}"


def find_unsuited_settings(
    targets: Mapping[str, TargetSpec],
    groups: Iterable[str],
    heads: Sequence[HeadSpec],
    networks: Sequence[FinetuneSection],
    ensembles: Sequence[EnsembleSpec],
) -> list[str]:
    """Return one message for each setting that does not fit its target, with the path of its key.

    Parameters
    ----------
    targets
        The recipe's targets.
    groups
        Names of the recipe's groups.
    heads, networks, ensembles
        Sections ``[[head]]``, ``[[finetune]]`` and ``[[ensemble]]``.
    """
    named_targets = [NamedTarget(name, spec) for name, spec in targets.items()]
    problems: dict[str, None] = {}
    all_sections: dict[str, Sequence[HeadSpec | FinetuneSection | EnsembleSpec]]
    all_sections = {"head": heads, "finetune": networks, "ensemble": ensembles}
    for kind, sections in all_sections.items():
        for number, section in enumerate(sections):
            section_targets = [target for target in named_targets if section.target in {None, target.name}]
            if section.target is not None and not section_targets:
                section_problems = [
                    (
                        "target",
                        f"no target is called {section.target!r}; {suggest_names(section.target, list(targets))}",
                    )
                ]
            elif isinstance(section, HeadSpec):
                section_problems = [
                    *_head_problems(section, section_targets),
                    *_group_problems(section.group_weight, groups),
                ]
            elif isinstance(section, EnsembleSpec):
                section_problems = list(_ensemble_problems(section, section_targets))
            else:
                section_problems = list(_finetune_problems(section, section_targets, groups))
            problems |= dict.fromkeys(f"{kind}[{number}].{key}: {text}" for key, text in section_problems)
    return [*problems, *_differing_metrics(named_targets, ensembles)]


def _target_hint(target: str | None, suited_targets: Iterable[NamedTarget]) -> str:
    """Return the advice to limit a section without a target to one that it suits; empty if there is none."""
    names = [f"target = {item.name!r}" for item in suited_targets] if target is None else []
    return f", or set {' or '.join(names)} in this section" if names else ""


def _group_problems(group_weight: str, groups: Iterable[str]) -> Iterator[Problem]:
    names = [] if group_weight == "none" else group_weight.split("+")
    if unknown_names := [name for name in names if name not in groups]:
        names_text = ", ".join(groups) or "none"
        yield "group_weight", f"no group is called {unknown_names[0]!r}; groups of the recipe: {names_text}"


# Heads


def _head_problems(head: HeadSpec, targets: Sequence[NamedTarget]) -> Iterator[Problem]:
    """Yield what is wrong with a head; one without a target is not fitted for targets that it cannot learn."""
    problems_by_target = {target.name: problem for target in targets if (problem := _unsuited_head(head, target))}
    if targets and len(problems_by_target) == len(targets):
        yield next(iter(problems_by_target.values()))
    learnable_targets = [target for target in targets if target.name not in problems_by_target]
    for target in learnable_targets:
        yield from _metric_problems(head.metric, target, head.target, learnable_targets)
        yield from _class_weight_problems(head, target, head.target, learnable_targets)
    if (
        learnable_targets
        and head.calibration not in {"auto", "none"}
        and all(target.kind == "numbers" for target in learnable_targets)
    ):
        yield "calibration", f"{head.calibration!r} is for probabilities, {learnable_targets[0]}; remove it"


def _unsuited_head(head: HeadSpec, target: NamedTarget) -> Problem | None:
    is_linear_sgd = head.name == "svm" and head.solver == "minibatch"
    if target.kind == "numbers" and (head.name in CLASSIFIER_HEADS or is_linear_sgd):
        alternative = "solver = 'sklearn'" if is_linear_sgd else "'ridge'"
        return "name", f"head {head.name!r} learns classes and labels, {target}; use {alternative}"
    weights = [name for name in ("class_weight", "group_weight") if getattr(head, name) != "none"]
    if head.name in HEADS_WITHOUT_WEIGHTS and (weights or target.spec.soft):
        cause = f"found {weights[0]} = {getattr(head, weights[0])!r}" if weights else f"{target.name!r} has soft labels"
        return weights[0] if weights else "name", f"head {head.name!r} cannot weigh rows, {cause}; use another head"
    return None


def _metric_problems(
    metric: Metric | None, target: NamedTarget, section_target: str | None, learnable_targets: Iterable[NamedTarget]
) -> Iterator[Problem]:
    if metric is None or metric in target.metrics:
        return
    suited_targets = [candidate for candidate in learnable_targets if metric in candidate.metrics]
    next_step = _target_hint(section_target, suited_targets)
    if metric in METRICS[target.kind]:
        key = f"ordered = true in [targets.{target.name}]"
        problem = f"{metric!r} needs ordered classes, those of {target.name!r} have no order"
        yield "metric", f"{problem}; set {key}{next_step}"
    else:
        yield "metric", f"{metric!r} is not defined, {target}; {suggest_names(metric, list(target.metrics))}{next_step}"


def _class_weight_problems(
    spec: HeadSpec | FinetuneSpec,
    target: NamedTarget,
    section_target: str | None,
    learnable_targets: Iterable[NamedTarget],
) -> Iterator[Problem]:
    if spec.class_weight == "none":
        return
    if target.kind != "classes":
        suited_targets = [candidate for candidate in learnable_targets if candidate.kind == "classes"]
        next_step = _target_hint(section_target, suited_targets)
        yield "class_weight", f"{target} and has no classes; use group_weight{next_step}"
    names = _class_names(target.spec)
    unknown_names = sorted(set(spec.class_weight) - set(names)) if names and isinstance(spec.class_weight, dict) else []
    if unknown_names:
        yield "class_weight", f"no class of {target.name!r} is called {unknown_names[0]!r}; classes: {', '.join(names)}"


def _class_names(target: TargetSpec) -> tuple[str, ...]:
    """Return the names of the classes; empty if they depend on the labels."""
    return target.classes or target.keep or ()


def _n_classes(target: TargetSpec) -> int | None:
    """Return the number of classes; None if it depends on the labels."""
    if names := _class_names(target):
        return len(names)
    if target.above is not None or target.soft:
        return 2
    return len(target.bins) + 1 if target.bins is not None and not target.drop else None


# Networks


def _finetune_problems(
    section: FinetuneSection, targets: Sequence[NamedTarget], groups: Iterable[str]
) -> Iterator[Problem]:
    """Yield what is wrong with the runs of a section; without a target, no run is made for targets of labels."""
    learnable_targets = [target for target in targets if target.kind != "labels"]
    if targets and not learnable_targets:
        yield "target", f"networks learn classes and numbers, {targets[0]}"
    for spec in section.runs:
        yield from _group_problems(spec.group_weight, groups)
        for target in learnable_targets:
            if spec.distillation is not None and target.kind != "classes":
                class_targets = [candidate for candidate in learnable_targets if candidate.kind == "classes"]
                next_step = _target_hint(section.target, class_targets)
                yield "distillation", f"it learns probabilities of classes, {target}; remove it{next_step}"
            yield from _class_weight_problems(spec, target, section.target, learnable_targets)
            yield from _loss_problems(spec, target, section.target, learnable_targets)


def _loss_problems(
    spec: FinetuneSpec, target: NamedTarget, section_target: str | None, learnable_targets: Iterable[NamedTarget]
) -> Iterator[Problem]:
    loss = (spec.loss or LossSpec(name="mse" if target.kind == "numbers" else "cross_entropy")).name
    suited_targets = [candidate for candidate in learnable_targets if candidate.kind != target.kind]
    next_step = _target_hint(section_target, suited_targets)
    if loss in NUMBER_LOSSES and target.kind == "classes":
        yield "loss", f"loss {loss!r} takes numbers, {target}; set loss = 'cross_entropy'{next_step}"
    learns_classes = loss in CLASS_LOSSES or (loss in LOSS_ACTIVATIONS and target.kind == "classes")
    if spec.scale != "none" and (target.kind == "classes" or learns_classes):
        cause = f"{target}" if target.kind == "classes" else f"loss {loss!r} learns numbers as classes"
        yield "scale", f"{spec.scale!r} is for numbers, {cause}; remove it{next_step}"
    if learns_classes and spec.layers.activation not in {"none", LOSS_ACTIVATIONS[loss]}:
        yield (
            "layers.activation",
            f"loss {loss!r} of target {target.name!r} has its own activation, found {spec.layers.activation!r}; "
            f"set 'none'{next_step}",
        )
    yield from _number_class_problems(spec, target, loss, next_step)
    n_columns = len(target.spec.columns)
    if learns_classes and target.kind == "numbers" and n_columns > 1:
        yield "loss", f"loss {loss!r} takes one number, target {target.name!r} has {n_columns}; set loss = 'mse'"
    if target.kind == "classes":
        n_classes = _n_classes(target.spec)
        if loss == "bce" and n_classes not in {None, 2}:
            yield "loss", f"loss 'bce' takes two classes, target {target.name!r} has {n_classes}; set 'cross_entropy'"
        if loss == "ordinal" and target.spec.soft:
            yield (
                "loss",
                f"loss 'ordinal' takes one class per row, {target.name!r} has soft labels; set 'cross_entropy'",
            )


def _number_class_problems(spec: FinetuneSpec, target: NamedTarget, loss: str, next_step: str) -> Iterator[Problem]:
    if numbers_as_classes := [key for key in ("round_to", "bins") if getattr(spec.loss, key, None) is not None]:
        key = numbers_as_classes[0]
        if target.kind == "classes":
            yield f"loss.{key}", f"{key!r} makes classes of numbers, {target}; remove it{next_step}"
        elif loss not in CLASS_LOSSES and loss in {*NUMBER_LOSSES, *LOSS_ACTIVATIONS}:
            yield f"loss.{key}", f"{key!r} is for losses of classes, found {loss!r}; set name = 'cross_entropy'"


# Ensembles


def _ensemble_problems(spec: EnsembleSpec, targets: Sequence[NamedTarget]) -> Iterator[Problem]:
    kinds = dict.fromkeys(target.kind for target in targets)
    for method in spec.methods or ():
        vote_kinds = VOTE_KINDS.get(method)
        if targets and vote_kinds is not None and not set(vote_kinds) & set(kinds):
            yield "methods", f"method {method!r} predicts {' or '.join(vote_kinds)}, {targets[0]}"
    numbers = [target for target in targets if target.kind == "numbers"]
    if numbers and spec.stacker == "logistic" and "stacking" in (spec.methods or ()):
        class_targets = [target for target in targets if target.kind != "numbers"]
        yield (
            "stacker",
            f"'logistic' is for classes and labels, {numbers[0]}; "
            f"set 'ridge'{_target_hint(spec.target, class_targets)}",
        )
    if targets and spec.metric is not None and not any(spec.metric in target.metrics for target in targets):
        yield from _metric_problems(spec.metric, targets[0], spec.target, ())


def _differing_metrics(targets: Sequence[NamedTarget], ensembles: Sequence[EnsembleSpec]) -> Iterator[str]:
    """Yield the sections that rank the runs of a target by another metric than an earlier section."""
    for target in targets:
        metrics = {
            number: spec.metric
            for number, spec in enumerate(ensembles)
            if spec.target in {None, target.name} and spec.metric in target.metrics
        }
        first_metric = next(iter(metrics.values()), None)
        for number, metric in metrics.items():
            if metric != first_metric:
                yield (
                    f"ensemble[{number}].metric: found {metric!r}, and {first_metric!r} in another section for target "
                    f"{target.name!r}; runs of a target are ranked by one metric"
                )
