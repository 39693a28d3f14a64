"""Sections of a recipe and specs of short trainings."""

from typing import Any

import featx
from featx.specs.finetuning import FinetuneSpec, LayersSpec
from tests.recipes import LABEL_TABLE

SECTIONS = {
    "data": LABEL_TABLE,
    "targets": {"class": {"column": "class"}, "level": {"column": "level", "kind": "numbers"}},
    "groups": {"side": "side", "class": "class"},
    "split": {"test": 0.2, "val": 0.2},
    "extraction": {"device": "cpu", "workers": 1},
    "finetune": [{"backbone": "deep", "weights": "none"}],
    "embedding": None,
    "head": None,
}


SMALL = LayersSpec(hidden=(8,), dropout=0.2)
SPEC = FinetuneSpec(backbone="deep", weights="none", epochs=3, lr=0.01, layers=SMALL, batch_size=8, holdout=0.2)


STRATEGIES = {
    "vectors": {"strategy": "head"},
    "boundary": {"strategy": "4"},
    "pixels": {"strategy": "all"},
    "phases": {
        "strategy": "progressive",
        "phases": [{"trainable": "head", "lr": 0.01, "epochs": 2}, {"trainable": "4", "lr": 1e-3, "epochs": 2}],
    },
}


def changed(**fields: Any) -> FinetuneSpec:
    """Return the tests' spec with other fields, checked."""
    return FinetuneSpec.model_validate(SPEC.model_dump() | fields)


def finetune_one(**fields: Any) -> Any:
    """Return the result of one run for the target of classes."""
    (run,) = featx.finetune(specs=[changed(**fields)], target="class")
    return run
