"""Interrupted, failed and killed trainings: what is kept, and what a later call continues with.

Modules: finetuning.finetuning_job, finetuning.training, study.run_warnings.
"""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import featx
from featx.errors import DeviceError
from tests.finetuning.specs import STRATEGIES, changed, finetune_one
from tests.processes import run_until_killed

KILLED = """
import featx
import tests.conftest
from featx.specs.finetuning import FinetuneSpec
def report(stage, done, total, note=""):
    if stage.startswith("finetune"):
        print(stage, done, flush=True)
featx.finetune(specs=[FinetuneSpec.model_validate_json({spec!r})], target="class", progress=report)
"""


@pytest.mark.parametrize(
    # Two phases train one boundary after the other.
    ("strategy", "n_steps"),
    [("pixels", 9), ("phases", 9), pytest.param("boundary", 7, marks=pytest.mark.slow)],
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(study: Path, strategy: str, n_steps: int) -> None:
    spec = changed(**STRATEGIES[strategy] | {"augment": {"flip": True, "shift": 0.1}, "views": 2})
    code = KILLED.format(spec=spec.model_dump_json())
    run_until_killed(code, n_lines=n_steps)
    assert not list((study / "runs").rglob("header.json"))
    assert list((study / "runs").rglob(".finetune-*/history.json"))
    (resumed_run,) = featx.finetune(specs=[spec], target="class")
    resumed_weights = {
        name: load_file(Path(resumed_run.path) / name) for name in ("model.safetensors", "last.safetensors")
    }
    (uninterrupted_run,) = featx.finetune(specs=[spec], target="class", force=True)
    for name, tensors in resumed_weights.items():
        expected = load_file(Path(uninterrupted_run.path) / name)
        assert all(torch.equal(expected[key], tensors[key]) for key in expected)
    assert resumed_run.n_epochs == uninterrupted_run.n_epochs


def test_ctrl_c_keeps_complete_epochs(study: Path) -> None:
    spec = changed(strategy="4", epochs=4)

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage.startswith("finetune") and n_done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.finetune(specs=[spec], target="class", progress=interrupt)
    assert list((study / "runs").rglob(".finetune-*/phase-1.pt"))
    calls = []
    featx.finetune(specs=[spec], target="class", progress=lambda stage, n_done, *_: calls.append((stage, n_done)))
    steps = [n_done for stage, n_done in calls if stage.startswith("finetune")]
    assert min(steps) > max(steps) // 2


def test_a_failed_training_has_warnings(study: Path) -> None:
    failed_run = finetune_one(strategy="all", lr=10.0, optimiser="sgd", epochs=4, patience=0)
    assert "NaN" not in (Path(failed_run.path) / "metrics.json").read_text()
    assert set(failed_run.flags) & {"nan", "diverged", "one class", "dead head"}
    assert len(failed_run.warnings) == len(failed_run.flags)
    finetune_one(strategy="head")
    rows = featx.evaluate(target="class")[0].rows
    assert [row.flags for row in rows if row.run == failed_run.run] == [failed_run.flags]


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_weights_that_the_last_step_ruined_are_discarded(
    study: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of an epoch without held-out rows is computed before its steps, here a single one."""

    def ruin(optimiser: torch.optim.Optimizer, closure: Any = None) -> None:
        if closure is not None:
            closure()
        for weights in optimiser.param_groups[0]["params"]:
            weights.data.fill_(torch.nan)

    monkeypatch.setattr(torch.optim.SGD, "step", ruin)
    ruined = finetune_one(strategy=strategy, optimiser="sgd", epochs=1, holdout=0, batch_size=64)
    assert "nan" in ruined.flags
    assert np.isfinite(featx.load(ruined.path).predict_images(["images/0.png"]).proba).all()


def test_a_training_whose_run_cannot_be_published_is_completed_later(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("featx.study.study.write_sealed", fail)
        with pytest.raises(OSError, match="No space"):
            finetune_one(strategy="all")
    stages = []
    featx.finetune(specs=[changed(strategy="all")], target="class", progress=lambda stage, *_: stages.append(stage))
    assert not [stage for stage in stages if stage.startswith("finetune")]


def test_seeds_change_the_random_weights_of_a_network_from_scratch(study: Path) -> None:
    weights = []
    for seed in (0, 1):
        run = finetune_one(strategy="scratch", optimiser="sgd", lr=1e-12, epochs=1, seed=seed)
        tensors = load_file(Path(run.path) / "model.safetensors")
        weights.append(next(value for key, value in sorted(tensors.items()) if value.ndim == 4))
    assert not torch.allclose(*weights, atol=1e-3)


def test_half_precision_on_a_cpu_is_refused(study: Path) -> None:
    with pytest.raises(DeviceError, match=r"precision = 'fp16' of \[\[finetune\]\] needs a GPU"):
        finetune_one(strategy="all", precision="fp16")


def test_a_precision_without_effect_on_new_layers_is_noted(study: Path) -> None:
    run = finetune_one(strategy="head", precision="bf16")
    assert "new layers on cached vectors are trained in fp32, not in bf16" in run.notes
