"""Distillation: a network learns the softened probabilities of a finished run instead of the labels.

Modules: specs.trained_network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import featx
from featx.errors import DataError, FeatxError, RecipeError
from featx.finetuning.distillation import find_teacher, soften
from featx.finetuning.losses import distillation_losses
from featx.specs.defences import DistillationSpec
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from tests.finetuning.specs import SECTIONS, changed, finetune_one
from tests.recipes import toy_heads, toy_recipe

HEADS = {"embedding": [{"backbone": "toy", "weights": "none"}], "head": toy_heads("logreg", "lda")}


def distilled(teacher: str, **fields: Any) -> Any:
    return finetune_one(**{"strategy": "head", "distillation": {"teacher": teacher}} | fields)


def test_softened_probabilities_are_the_softmax_of_scaled_scores() -> None:
    scores = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    softened = soften(scores.softmax(1).numpy(), 20.0)
    np.testing.assert_allclose(softened, (scores / 20).softmax(1).numpy(), atol=1e-6)
    assert np.isfinite(soften(np.array([[1.0, 0.0]]), 20.0)).all()


def test_the_loss_is_zero_for_the_teacher_and_keeps_the_size_of_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(6, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    for temperature in (1.0, 20.0, 500.0):
        targets = (teacher / temperature).softmax(1)
        assert distillation_losses(teacher, targets, temperature).abs().max() < 1e-9
        student.requires_grad_().grad = None
        distillation_losses(student, targets, temperature).sum().backward()
        assert 0.05 < float(student.grad.norm()) < 5
    # At a high temperature, the gradient is that of half the mean squared difference of centred scores.
    difference = student.detach() - teacher
    expected = (difference - difference.mean(1, keepdim=True)) / difference.shape[1]
    assert torch.allclose(student.grad, expected, atol=1e-2)


def test_a_network_learns_what_its_teacher_predicts(study: Path) -> None:
    teacher = finetune_one(strategy="all", epochs=8)
    student = distilled(teacher.run[:12], strategy="all", epochs=8)
    assert student.notes[0] == f"teacher {teacher.run}: in-sample probabilities of train rows, which it was trained on"
    tables = {run.name: run.predictions.of("val") for run in Study.open(None).runs("class")}
    ids = tables[teacher.run].ids
    proba = [tables[run].take(ids).proba for run in (teacher.run, student.run)]
    assert np.abs(proba[0] - proba[1]).mean() < 0.1
    # The recipe names the same teacher after its student exists, which begins with the same name.
    assert not distilled(teacher.run[:12], strategy="all", epochs=8).is_new


def test_heads_teach_by_their_predictions_out_of_fold(study: Path) -> None:
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | HEADS))
    featx.extract()
    featx.fit()
    student = distilled("logreg")
    assert "out-of-fold probabilities of train rows" in student.notes[0]
    assert np.isfinite([student.train_loss, student.val_loss, student.held_loss]).all()
    # The same student of another teacher is another run.
    assert distilled("lda").run != student.run
    for teacher, message in (("l", "'l' matches 2 runs"), ("rf", "no finished run is called 'rf'; runs on this split")):
        with pytest.raises(DataError, match=message) as error_info:
            distilled(teacher)
        assert "\n" not in str(error_info.value)
    (run,) = Study.open(None).runs("class", ["lda"])
    (run.path / "model.joblib").write_bytes(b"changed")
    with pytest.raises(FeatxError, match="is damaged .*changed"):
        distilled("lda")


def test_a_teacher_of_another_target_is_refused(study: Path) -> None:
    (run,) = featx.finetune(specs=[changed(strategy="head")], target="level")
    with pytest.raises(DataError, match="predicts target 'level', expected 'class'"):
        distilled(run.run)
    with pytest.raises(DataError, match="target 'level' is of numbers"):
        find_teacher(Study.open(None), "level", DistillationSpec(teacher="deep"))


def test_settings_that_do_not_fit_a_teacher_are_refused(study: Path) -> None:
    for fields in ({"loss": "focal"}, {"class_weight": "balanced"}):
        with pytest.raises(ValidationError, match=r"remove '(loss|class_weight)'"):
            changed(distillation={"teacher": "a"}, **fields)
    network = {"backbone": "deep", "weights": "none", "distillation": {"teacher": "a"}}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"finetune": [network]}))
    with pytest.raises(RecipeError, match="distillation: it learns probabilities of classes, target 'level' is of num"):
        load_recipe("featx.toml")
