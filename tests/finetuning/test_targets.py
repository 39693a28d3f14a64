"""One recipe with a classification and a regression: each section for all targets, or for one of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import featx
from featx.artifacts.header import read_header
from featx.errors import DataError, RecipeError
from featx.progress import no_progress
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe, load_recipe
from featx.study.run_spec import HeadRunSpec
from featx.study.study import Study
from featx.workflow.stages import make_runs
from tests.finetuning.specs import SECTIONS
from tests.recipes import toy_recipe

NETWORK = {"backbone": "deep", "weights": "none", "strategy": "head", "epochs": 1, "layers": {"hidden": [4]}}
HEAD = {"trials": 1, "folds": 2}
STUDY: dict[str, Any] = SECTIONS | {
    "embedding": [{"backbone": "deep", "weights": "none"}],
    "head": [
        {"name": "logreg", "class_weight": "balanced", "target": "class"} | HEAD,
        {"name": "ridge", "metric": "rmse", "target": "level"} | HEAD,
        {"name": "rf"} | HEAD,
    ],
    "finetune": [
        NETWORK | {"class_weight": "balanced", "target": "class"},
        NETWORK | {"scale": "unit", "loss": ["mse", "huber"], "target": "level"},
    ],
    "ensemble": [
        {"target": "class", "methods": ["majority", "soft"], "members": ["logreg", "rf"], "name": "heads"},
        {"target": "level", "methods": ["median"]},
        {"target": "class", "methods": ["soft"], "members": ["heads-soft", "deep"]},
    ],
}


def write(sections: dict[str, Any]) -> None:
    Path("featx.toml").write_text(toy_recipe(**sections))


def runs_of(recipe: Recipe) -> dict[str, Any]:
    """Return the last results of each stage that makes runs."""
    return dict(make_runs(recipe, engine=None, progress=no_progress))


def test_each_section_applies_to_its_target_or_to_all(study: Path) -> None:
    write(STUDY)
    featx.extract()
    stages = runs_of(load_recipe())
    heads = {
        (run.spec.target, run.spec.head_name) for run in Study.open(None).runs() if isinstance(run.spec, HeadRunSpec)
    }
    assert heads == {("class", "logreg"), ("class", "rf"), ("level", "ridge"), ("level", "rf")}
    assert Counter(run.target for run in stages["finetune"]) == {"class": 1, "level": 2}
    assert sorted((run.target, run.run.rpartition("-")[0]) for run in stages["ensemble"]) == [
        ("class", "heads-majority-class"),
        ("class", "heads-soft-class"),
        ("class", "soft-class"),
        ("level", "median-level"),
    ]
    outer = next(run for run in stages["ensemble"] if run.run.startswith("soft"))
    assert sorted(name.partition("-")[0] for name in outer.members) == ["deep", "heads"]

    # A command for one target uses the sections of this target alone.
    assert [(run.head, run.target) for run in featx.fit(target="level")] == [("ridge", "level"), ("rf", "level")]
    assert [run.target for run in featx.finetune(target="level")] == ["level", "level"]
    assert [(run.method, run.target) for run in featx.ensemble(target="level")] == [("median", "level")]
    soft = featx.ensemble(methods=["soft"], members=["ridge", "rf"], target="level")
    assert [run.run.rpartition("-")[0] for run in soft] == ["soft-level"]


def test_a_recipe_without_a_section_for_a_target_is_reported(study: Path) -> None:
    write(STUDY | {"finetune": STUDY["finetune"][:1], "head": STUDY["head"][:1], "ensemble": [{"methods": []}]})
    featx.extract()
    with pytest.raises(DataError, match=r"no \[\[finetune\]\] is for target 'level'; add one with target = 'level'"):
        featx.finetune(target="level")
    with pytest.raises(DataError, match=r"no \[\[head\]\] is for target 'level'; name a head with 'featx fit --head"):
        featx.fit(target="level")
    with pytest.raises(DataError, match=r"the recipe has no \[\[ensemble\]\] with a method; name methods with"):
        featx.ensemble()
    assert list(runs_of(load_recipe())) == ["finetune", "fit"]


def test_labels_unfit_for_a_later_run_stop_before_training(study: Path) -> None:
    write(STUDY | {"finetune": [NETWORK | {"target": "class"}, NETWORK | {"loss": "mape", "target": "level"}]})
    with pytest.raises(DataError, match="loss 'mape' divides by the target"):
        featx.finetune()
    assert not list(Path("runs").rglob("header.json"))
    write(STUDY | {"finetune": [NETWORK | {"loss": "mape"}]})
    with pytest.raises(RecipeError, match=r"finetune\[0\].loss: loss 'mape' takes numbers, target 'class' is of"):
        featx.finetune()


def test_a_loss_of_numbers_learns_classes_and_scaled_numbers(study: Path) -> None:
    write(SECTIONS)
    full = {"backbone": "deep", "weights": "none", "strategy": "all", "lr": 0.01, "epochs": 8, "holdout": 0.2}
    (of_classes,) = featx.finetune(specs=[FinetuneSpec(**full, loss="mse")], target="class")
    assert of_classes.val_score > 0.7
    (of_numbers,) = featx.finetune(specs=[FinetuneSpec(**full, loss="poisson", scale="standard")], target="level")
    assert of_numbers.val_score < 0.25
    header = read_header(of_numbers.path)[1]
    assert header.network is not None
    assert header.network.factor != (1.0,)
