"""Numbers that a loss of classes learns: distinct values, rounded ones and bins; the prediction is their mean."""

from pathlib import Path

import numpy as np
import pytest
import torch

from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError
from featx.finetuning.checkpoints import NetworkOutputs
from featx.finetuning.number_classes import classes_of_numbers
from featx.finetuning.task import build_task
from featx.progress import no_progress
from featx.specs.embedding import Preprocessing
from featx.specs.finetuning import LossSpec
from featx.study.study import Study
from tests.finetuning.specs import changed

AGES = np.array([1.4, 20.5, 19.6, 33.0, 64.9, 1.2])
MANY = np.linspace(0, 80, 1500)


@pytest.mark.parametrize(
    ("options", "values", "codes"),
    [
        ({}, [1.2, 1.4, 19.6, 20.5, 33.0, 64.9], [1, 3, 2, 4, 5, 0]),
        ({"round_to": 1}, [1, 20, 21, 33, 65], [0, 2, 1, 3, 4, 0]),
        ({"round_to": 10}, [0, 20, 30, 60], [0, 1, 1, 2, 3, 0]),
        # The bin from 33.05 on has one number, that from 17.1 to 33.05 three.
        ({"bins": 4}, [1.3, (20.5 + 19.6 + 33.0) / 3, 64.9], [0, 1, 1, 1, 2, 0]),
        ({"bins": (20.5, 33.0)}, [(1.4 + 19.6 + 1.2) / 3, 20.5, (33.0 + 64.9) / 2], [0, 1, 0, 2, 2, 0]),
    ],
)
def test_numbers_become_classes_with_values(options: dict[str, object], values: list[float], codes: list[int]) -> None:
    found_values, found_codes = classes_of_numbers(AGES, LossSpec.model_validate(options))
    np.testing.assert_allclose(found_values, values, rtol=1e-12)
    assert found_codes.tolist() == codes


def test_the_mean_of_the_values_of_bins_is_that_of_the_numbers() -> None:
    values, codes = classes_of_numbers(MANY, LossSpec(bins=7))
    assert len(values) == 7
    assert values[codes].mean() == pytest.approx(MANY.mean())


def test_too_many_classes_and_a_single_one_are_reported_with_the_next_step() -> None:
    with pytest.raises(DataError, match="takes each distinct number as a class, found 1500, .*round_to = … } or bins"):
        classes_of_numbers(MANY, LossSpec())
    with pytest.raises(DataError, match="takes each multiple of 0.01 as a class, found 1500"):
        classes_of_numbers(MANY, LossSpec(round_to=0.01))
    with pytest.raises(DataError, match="all train rows are in one class; set a smaller 'round_to'"):
        classes_of_numbers(MANY, LossSpec(round_to=1000))


@pytest.mark.parametrize("name", ["cross_entropy", "ordinal"])
def test_a_network_predicts_the_expected_value(name: str, study: Path) -> None:
    find_near_copies(Study.open(None), no_progress)
    task = build_task(Study.open(None), "level", changed(loss={"name": name, "bins": 3}), [])
    assert task.n_outputs == (3 if name == "cross_entropy" else 2)
    assert len(task.coding.values) == 3
    request = task.spec.request
    spec = task.network_spec(request, Preprocessing(size_px=16, mean=(0, 0, 0), std=(1, 1, 1)))
    outputs = torch.randn(4, task.n_outputs, generator=torch.Generator().manual_seed(0))
    proba = task.objective.loss.predict(outputs).double().numpy()
    np.testing.assert_allclose(NetworkOutputs(spec)(outputs)[:, 0], proba @ task.coding.values, rtol=1e-6)
