"""Settings that cannot apply to a target are reported when a recipe is read."""

from pathlib import Path
from typing import Any

import pytest

from featx.ensembles.combiners import EnsembleMethod
from featx.errors import DataError, RecipeError, UnsuitedError
from featx.finetuning.losses import build_loss
from featx.heads.head_definition import HeadTask
from featx.registry import ENSEMBLE_METHODS, HEADS, LOSSES
from featx.specs.finetuning import LossSpec
from featx.specs.recipe import Recipe, parse_recipe
from featx.specs.suitability import (
    CLASS_LOSSES,
    CLASSIFIER_HEADS,
    HEADS_WITHOUT_WEIGHTS,
    LOSS_ACTIVATIONS,
    NUMBER_LOSSES,
    VOTE_KINDS,
)

TARGETS: dict[str, Any] = {
    "emotion": {"column": "emotion", "classes": ["sad", "happy", "angry"]},
    "age": {"column": "age", "kind": "numbers"},
    "pose": {"column": "yaw", "columns": ["yaw", "pitch"], "kind": "numbers"},
    "marks": {"column": "marks", "kind": "labels"},
    "doubt": {"column": "doubt", "soft": True},
}


def parsed(folder: Path, targets: tuple[str, ...] = ("emotion", "age"), **sections: Any) -> Recipe:
    """Return a recipe with some of the targets."""
    base = {"data": {"source": "images"}, "targets": {name: TARGETS[name] for name in targets}}
    return parse_recipe(base | sections, folder / "r.toml")


def head(**fields: Any) -> dict[str, Any]:
    return {"head": [{"name": "rf"} | fields]}


def network(**fields: Any) -> dict[str, Any]:
    return {"finetune": [fields]}


def vote(*sections: dict[str, Any]) -> dict[str, Any]:
    return {"ensemble": list(sections)}


NO_CLASSES = "target 'age' is of numbers and has no classes; use group_weight"
NO_ORDER = (
    "'quadratic_kappa' needs ordered classes, those of 'emotion' have no order; set ordered = true in [targets.emotion]"
)

UNSUITED: list[tuple[dict[str, Any], str]] = [
    (head(target="emotoin"), "head[0].target: no target is called 'emotoin'; did you mean 'emotion'?"),
    (network(target="agee"), "finetune[0].target: no target is called 'agee'; did you mean 'age'?"),
    (vote({"target": "x"}), "ensemble[0].target: no target is called 'x'; known: emotion, age"),
    (head(name="logreg", target="age"), "head[0].name: head 'logreg' learns classes and labels, target 'age' is of"),
    (head(metric="ccc", target="emotion"), "head[0].metric: 'ccc' is not defined, target 'emotion' is of classes;"),
    (
        head(metric="macro_f1"),
        "head[0].metric: 'macro_f1' is not defined, target 'age' is of numbers; known: mae, rmse, r2, pearson, "
        "ccc, or set target = 'emotion' in this section",
    ),
    (head(metric="quadratic_kappa", target="emotion"), f"head[0].metric: {NO_ORDER}"),
    (vote({"metric": "quadratic_kappa"}), f"ensemble[0].metric: {NO_ORDER}"),
    (head(class_weight="balanced"), f"head[0].class_weight: {NO_CLASSES}, or set target = 'emotion' in this section"),
    (head(class_weight="balanced", target="age"), f"head[0].class_weight: {NO_CLASSES}"),
    (
        head(class_weight={"glad": 2.0}, target="emotion"),
        "head[0].class_weight: no class of 'emotion' is called 'glad'; classes: sad, happy, angry",
    ),
    (head(name="knn", group_weight="sex"), "head[0].group_weight: head 'knn' cannot weigh rows, found group_weight ="),
    (head(group_weight="sex"), "head[0].group_weight: no group is called 'sex'; groups of the recipe: none"),
    (head(calibration="platt", target="age"), "head[0].calibration: 'platt' is for probabilities, target 'age' is of"),
    (network(loss="mape"), "finetune[0].loss: loss 'mape' takes numbers, target 'emotion' is of classes; set loss ="),
    (network(loss="bce", target="emotion"), "finetune[0].loss: loss 'bce' takes two classes, target 'emotion' has 3"),
    (network(class_weight="balanced", target="age"), f"finetune[0].class_weight: {NO_CLASSES}"),
    (network(scale="unit", target="emotion"), "finetune[0].scale: 'unit' is for numbers, target 'emotion' is of"),
    (network(scale="unit", loss="bce", target="age"), "finetune[0].scale: 'unit' is for numbers, loss 'bce' learns"),
    (
        network(layers={"activation": "tanh"}, target="emotion"),
        "finetune[0].layers.activation: loss 'cross_entropy' of target 'emotion' has its own activation, found 'tanh'",
    ),
    (network(layers={"activation": "tanh"}, loss=["mse", "mae"]), "finetune[0].layers.activation: loss 'mae' of"),
    (network(loss={"name": "mse", "bins": 9}, target="age"), "finetune[0].loss.bins: 'bins' is for losses of classes"),
    (
        network(loss={"round_to": 1}),
        "finetune[0].loss.round_to: 'round_to' makes classes of numbers, target 'emotion' is of classes; remove it, or "
        "set target = 'age' in this section",
    ),
    (network(loss={"bins": [3, 2]}), "finetune[0].loss: expected bins = [b0, b1, …] in rising order, found [3.0, 2.0]"),
    (network(loss={"bins": 4, "round_to": 1}), "finetune[0].loss: 'round_to' and 'bins' both make classes of numbers"),
    (network(group_weight=["none", "sex"]), "finetune[0].group_weight: no group is called 'sex'"),
    (vote({"target": "age", "methods": ["majority"]}), "ensemble[0].methods: method 'majority' predicts classes or"),
    (vote({"stacker": "logistic", "methods": ["stacking"]}), "ensemble[0].stacker: 'logistic' is for classes and"),
    (vote({"metric": "average_precision"}), "ensemble[0].metric: 'average_precision' is not defined, target 'emotion'"),
    (
        vote({"metric": "macro_f1"}, {"metric": "log_loss", "target": "emotion"}),
        "ensemble[1].metric: found 'log_loss', and 'macro_f1' in another section for target 'emotion'; runs of a",
    ),
    (vote({"name": "a/b"}), "ensemble[0].name: found 'a/b'"),
]


@pytest.mark.parametrize(
    ("sections", "problem"), UNSUITED, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_setting_that_does_not_fit_its_target_is_reported(
    sections: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parsed(tmp_path, **sections)
    assert any(message.startswith(problem) for message in error_info.value.problems), error_info.value.problems


@pytest.mark.parametrize(
    ("targets", "sections", "problem"),
    [
        (("pose",), network(loss="cross_entropy"), "finetune[0].loss: loss 'cross_entropy' takes one number, target"),
        (("marks",), network(), "finetune[0].target: networks learn classes and numbers, target 'marks' is of labels"),
        (("doubt",), network(loss="ordinal"), "finetune[0].loss: loss 'ordinal' takes one class per row, 'doubt' has"),
        (("doubt",), head(name="lda"), "head[0].name: head 'lda' cannot weigh rows, 'doubt' has soft labels"),
    ],
)
def test_targets_of_other_kinds_are_checked_too(
    targets: tuple[str, ...], sections: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parsed(tmp_path, targets, **sections)
    assert [message for message in error_info.value.problems if message.startswith(problem)]


@pytest.mark.parametrize(
    "sections",
    [
        head(name="logreg", class_weight="balanced"),
        head(class_weight="balanced", metric="macro_f1", target="emotion"),
        network(loss="mse"),
        network(loss=["mape", "poisson"], scale="unit", target="age"),
        network(loss="cross_entropy"),
        network(loss=[{"round_to": 1}, {"bins": [20, 40]}, {"name": "ordinal", "bins": 10}], target="age"),
        vote({"metric": "rmse"}, {"metric": "macro_f1"}, {"target": "age", "methods": ["median"]}),
        vote({"methods": []}),
        vote(),
    ],
)
def test_settings_that_fit_a_target_are_accepted(sections: dict[str, Any], tmp_path: Path) -> None:
    assert parsed(tmp_path, **sections).name == "r"


def test_one_table_of_ensembles_is_reported_with_the_list_that_is_expected(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"ensemble: found one table, expected a list of them \(\[\[ensemble\]\]\)"):
        parsed(tmp_path, ensemble={"methods": ["soft"]})


def learns_numbers(name: str) -> bool:
    try:
        HEADS.get(name)(HeadTask(40, 4, 1, 0, "numbers"))
    except UnsuitedError:
        return False
    return True


def test_the_tables_state_what_heads_losses_and_methods_can_do() -> None:
    assert {name for name in HEADS.names() if not learns_numbers(name)} == CLASSIFIER_HEADS
    heads = {name: HEADS.get(name)(HeadTask(40, 4, 3, 0)) for name in HEADS.names()}
    assert {name for name, head in heads.items() if not head.accepts_weights} == HEADS_WITHOUT_WEIGHTS
    losses = {name: build_loss(LossSpec(name=name)) for name in LOSSES.names()}
    assert {name for name, loss in losses.items() if loss.is_classification} == CLASS_LOSSES
    assert {name for name, loss in losses.items() if not (loss.is_classification or loss.class_loss)} == NUMBER_LOSSES
    assert set(LOSS_ACTIVATIONS) == set(losses) - NUMBER_LOSSES
    votes: dict[str, EnsembleMethod] = {name: ENSEMBLE_METHODS.get(name) for name in ENSEMBLE_METHODS.names()}
    limited = {name: method.kinds for name, method in votes.items() if len(method.kinds) < 3}
    assert limited == VOTE_KINDS
    with pytest.raises(DataError, match="takes two classes, found 3"):
        losses["bce"].count_outputs(3)
