"""Distillation: networks that learn the softened probabilities of a finished run [1]_ [2]_.

References
----------
.. [1] N. Papernot et al., Distillation as a defense to adversarial perturbations against deep neural networks, IEEE
   Symposium on Security and Privacy 2016.
.. [2] G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, 2015.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.artifacts.artifact import OUTPUT_TAP
from featx.errors import DataError
from featx.finetuning.objective import Objective
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.task import TrainingTask
from featx.specs.defences import DistillationSpec
from featx.specs.embedding import CHECKPOINT_PREFIX, EmbeddingRequest
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.run_spec import NetworkRunSpec
from featx.study.study import Study
from featx.tables.ids import Floats
from featx.tables.predictions import AnyPredictions

# Smallest probability whose logarithm is taken; single precision has none above 0 below it.
MIN_PROBABILITY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TeacherProbabilities:
    """Probabilities of a teacher for the rows that a network is trained on and compared on.

    Attributes
    ----------
    train, val
        (n, k) probabilities of the train rows and of the val rows, classes in the order of the target.
    note
        Where those of the train rows come from.
    """

    train: Floats
    val: Floats
    note: str


def find_teacher(study: Study, target: str, spec: DistillationSpec) -> RunFolder:
    """Return the finished run that a network learns from.

    Runs that were distilled from another run of the same beginning are no teachers, so that a recipe names the same
    teacher before and after its networks are trained.

    Raises
    ------
    DataError
        The target has no classes, no run of this target and split has the name, or several have.
    """
    kind = study.recipe.targets[target].kind
    if kind != "classes":
        raise DataError(f"distillation learns probabilities of classes, target {target!r} is of {kind}; remove it")
    runs = study.runs(target, [spec.teacher])
    names = {run.name for run in runs}
    teachers = [run for run in runs if _teacher_of(run) not in names]
    if len(teachers) != 1:
        names_text = ", ".join(run.name for run in teachers)
        raise DataError(f"distillation.teacher: {spec.teacher!r} matches {len(teachers)} runs: {names_text}; name one")
    return teachers[0]


def _teacher_of(run: RunFolder) -> str | None:
    """Return the name of the run that a network was distilled from."""
    distillation = run.spec.finetune.get("distillation") if isinstance(run.spec, NetworkRunSpec) else None
    return None if distillation is None else str(distillation["teacher"])


def is_trained_by(recipe: Recipe, spec: DistillationSpec) -> bool:
    """Return whether a teacher may be a network of a section of the recipe, which may not be trained yet."""
    names = [section.name or run.backbone.rpartition("/")[2] for section in recipe.finetune for run in section.runs]
    return any(spec.teacher.startswith(name) or name.startswith(spec.teacher) for name in names)


def read_teacher(run: RunFolder, names: tuple[str, ...], inputs: PhaseInputs) -> TeacherProbabilities:
    """Return the probabilities of a teacher: those of train rows out of fold, or of a network those in sample.

    Raises
    ------
    DataError
        The run has no predictions for all train rows.
    AlignmentError
        The run predicts other classes.
    """
    table = run.predictions.ordered(names)
    val = table.take(inputs.study.ids("val")).values
    out_of_fold = _train_rows(table, inputs)
    if out_of_fold is not None:
        return TeacherProbabilities(out_of_fold, val, f"teacher {run.name}: out-of-fold probabilities of train rows")
    if run.kind != "network":
        raise DataError(
            f"teacher {run.name} has no out-of-fold predictions for the train rows; name a network, or a head that was "
            "searched or calibrated in folds"
        )
    request = EmbeddingRequest(
        backbone=f"{CHECKPOINT_PREFIX}{run.path}",
        tap=OUTPUT_TAP,
        precision="fp32",
        decoding=inputs.study.recipe.decoding,
    )
    in_sample = inputs.embedded(request)[: inputs.n_train].astype(np.float64)
    columns = [run.predictions.names.index(name) for name in names]
    note = f"teacher {run.name}: in-sample probabilities of train rows, which it was trained on"
    return TeacherProbabilities(in_sample[:, columns], val, note)


def _train_rows(table: AnyPredictions, inputs: PhaseInputs) -> Floats | None:
    """Return the probabilities of all train rows in the order of the inputs; None if some rows have none."""
    oof_predictions, ids = table.of("oof"), inputs.ids[: inputs.n_train]
    return oof_predictions.take(ids).values if set(ids) <= set(oof_predictions.ids) else None


def soften(proba: Floats, temperature: float) -> NDArray[np.float32]:
    """Return probabilities whose logarithms are divided by a temperature, scaled to sum to 1."""
    logits = torch.from_numpy(np.log(np.maximum(proba, MIN_PROBABILITY)))
    return np.asarray((logits / temperature).softmax(1).numpy(), dtype=np.float32)


def distil(task: TrainingTask, teacher: TeacherProbabilities, temperature: float) -> TrainingTask:
    """Return a task whose targets are the softened probabilities of a teacher; scores compare with the labels."""

    def of_teacher(objective: Objective, proba: Floats) -> Objective:
        return replace(objective, targets=_targets(proba, temperature), temperature=temperature)

    return replace(
        task,
        objective=of_teacher(task.objective, teacher.train),
        val_objective=of_teacher(task.val_objective, teacher.val),
        notes=(teacher.note,),
    )


def _targets(proba: Floats, temperature: float) -> Tensor:
    return torch.from_numpy(soften(proba, temperature))
