"""Recipes of small studies, as TOML text."""

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit

from featx.specs.attacking import AttackSection, AttackSpec
from featx.specs.corrupting import CorruptionSpec
from featx.specs.defences import AdversarialSpec, DistillationSpec
from featx.specs.finetuning import AugmentSpec
from featx.specs.presets import PresetSpec
from featx.specs.smoothing import SmoothingSpec

Section = Mapping[str, Any] | Sequence[Mapping[str, Any]]

LABEL_TABLE = {"source": "images", "labels": {"file": "labels.csv"}}
SECTIONS: Mapping[str, Section] = {
    "data": {"source": "images"},
    "targets": {"class": {"column": "class"}},
    "split": {"test": 0.25, "val": 0.25},
    "embedding": [{"backbone": "toy", "weights": "none"}],
    "head": [{"name": "logreg", "trials": 2, "folds": 3}, {"name": "rf", "trials": 1, "folds": 3}],
}


def toy_recipe(**sections: Section | None) -> str:
    """Return the recipe of a toy study: images in folders of two classes, one embedding and two heads.

    Parameters
    ----------
    **sections
        Sections that replace those of the toy study or are added to it; None removes a section.
    """
    recipe_sections = {name: section for name, section in ({**SECTIONS, **sections}).items() if section is not None}
    return tomlkit.dumps(recipe_sections)


def toy_heads(*names: str, trials: int = 1, folds: int = 3) -> list[Mapping[str, Any]]:
    """Return the section of heads with few trials."""
    return [{"name": name, "trials": trials, "folds": folds} for name in names]


TOY_RECIPE = toy_recipe()

_EFFORT = {"steps": 5, "queries": 9, "restarts": 2, "patch_share": 0.5, "seed": 1}
# Specs of attacks, each with another value of each of its fields.
ATTACK_CHANGES = (
    (AttackSpec(method="pgd"), {"method": "fgsm", "norm": "l2", "eps": 0.1, **_EFFORT}),
    (
        AttackSection(),
        {
            **{"methods": ("cw",), "norms": ("l2",), "eps": (0.1, 0.2), "target": "age", "runs": ("svm",), "images": 9},
            **{"white_box": True, **_EFFORT},
        },
    ),
)
# A spec of corruptions, and another value of each of its fields.
CORRUPTION_CHANGES = (
    CorruptionSpec(),
    {"kinds": ("fog",), "severities": (1, 2), "images": 7, "reference": "svm", "seed": 1},
)
AUGMENT_CHANGES = (
    AugmentSpec(),
    {
        **{"flip": True, "rotation_deg": 10.0, "shift": 0.1, "colour": 0.1, "randaugment": 2},
        **{"noise": 0.1, "corruptions": ("fog",), "corruption_share": 0.2},
    },
)
# Specs of attacks, corruptions and defences, and another value of each of their fields; and other values of some
# fields of a network's spec.
ROBUSTNESS_CHANGES = (
    *ATTACK_CHANGES,
    CORRUPTION_CHANGES,
    AUGMENT_CHANGES,
    (AdversarialSpec(), {"attack": "free", "eps": 0.1, "share": 1.0, "steps": 3, "replays": 2}),
    (DistillationSpec(teacher="a"), {"teacher": "b", "temperature": 2.0}),
    (
        SmoothingSpec(run="a"),
        {
            **{"run": "b", "target": "c", "sigma": 0.5, "n0": 10, "n": 50, "alpha": 0.01, "images": 9},
            **{"noise_at": "picture", "seed": 1},
        },
    ),
)
FINETUNE_CHANGES = {
    **{"views": 3, "adversarial": AdversarialSpec()},
    "distillation": DistillationSpec(teacher="a"),
}

# A preset, and another value of each of its fields.
PRESET_CHANGES = (
    PresetSpec(),
    {
        **{"sample": 100, "keep": {"cell": ("mono",)}, "balance": "none", "epochs": 1, "trials": 3, "size_px": 64},
        "backbones": {"small_cnn": "efficientnet_lite0"},
    },
)

# Another value of each field of outer splits and of splits by code.
SPLIT_CHANGES = {"cut": "cuts.py:cut", "repeats": 5, "seeds": (1, 2), "keep_runs": False}
