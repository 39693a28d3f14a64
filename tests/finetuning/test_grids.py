"""Grids of runs with the changes of a call.

Modules: finetuning.grids.
"""

from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import DataError
from featx.finetuning.grids import vary
from featx.finetuning.training_run import FinetuningResult
from featx.specs.finetuning import FinetuneSpec, PhaseSpec
from featx.study.run_folder import RunFolder
from featx.study.run_spec import NetworkRunSpec
from tests.finetuning.specs import changed

PHASES = (PhaseSpec(trainable="head", lr=1e-3, epochs=2), PhaseSpec(trainable="all", lr=1e-5, epochs=20))
PROGRESSIVE = FinetuneSpec(strategy="progressive", phases=PHASES)


def spec_of(run: FinetuningResult) -> dict[str, Any]:
    """Return the fields of the spec that a run was trained with."""
    spec = RunFolder(Path(run.path)).spec
    assert isinstance(spec, NetworkRunSpec)
    return spec.finetune


def test_epochs_limit_each_phase() -> None:
    (spec,) = vary([PROGRESSIVE], {"epochs": [3]})
    assert spec.strategy == "progressive"
    assert spec.phases == (PHASES[0], PhaseSpec(trainable="all", lr=1e-5, epochs=3))
    assert vary([FinetuneSpec(epochs=2)], {"epochs": [3]}) == (FinetuneSpec(epochs=3),)


def test_a_rate_for_phases_is_refused_unless_a_strategy_replaces_them() -> None:
    message = "found lr 0.01 for 'mobilenet_v2' with strategy = 'progressive', .*; change 'lr' in its 'phases', or name"
    with pytest.raises(DataError, match=message):
        vary([FinetuneSpec(), PROGRESSIVE.model_copy(update={"backbone": "mobilenet_v2"})], {"lr": [0.01]})
    (spec,) = vary([PROGRESSIVE], {"strategy": ["all"], "lr": [0.01]})
    assert (spec.strategy, spec.lr, spec.phases) == ("all", 0.01, ())


@pytest.mark.parametrize("changes", [{"backbone": ["vgg16"]}, {"seed": [4]}, {"batch_size": [7]}])
def test_other_changes_keep_the_phases(changes: dict[str, Any]) -> None:
    (spec,) = vary([PROGRESSIVE], changes)
    assert spec == PROGRESSIVE.model_copy(update={key: value for key, (value,) in changes.items()})


def test_a_progressive_run_with_fewer_epochs_trains_all_phases(study: Path) -> None:
    spec = changed(strategy="progressive", phases=PHASES, lr=None, epochs=10)
    (run,) = featx.finetune(specs=[spec], epochs=1, target="class")
    phases = spec_of(run)["phases"]
    assert [(phase["trainable"], phase["epochs"]) for phase in phases] == [("head", 1), ("all", 1)]


def test_phases_of_networks_for_other_targets_and_backbones_refuse_no_rate(study: Path) -> None:
    specs = [changed(strategy="progressive", phases=PHASES, lr=None), changed(strategy="head", backbone="toy")]
    (run,) = featx.finetune(specs=specs, epochs=1, lrs=[0.01], backbones=["toy"], target="class")
    assert spec_of(run)["lr"] == 0.01
