"""A single name, path, number or spec is one value, not a sequence of letters or fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx
import featx.cache
from featx.errors import FeatxError
from featx.specs.ensembling import EnsembleSpec
from featx.specs.sequences import as_tuple
from featx.study.study import Study

SPEC = EnsembleSpec(methods=("soft",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("svm", ("svm",)),
        (Path("runs/svm"), (Path("runs/svm"),)),
        (SPEC, (SPEC,)),
        (0.1, (0.1,)),
        ((), ()),
        (["svm", "knn"], ("svm", "knn")),
        ((name for name in ("svm", "knn")), ("svm", "knn")),
    ],
)
def test_single_values_are_tuples_of_one(values: Any, expected: tuple[Any, ...]) -> None:
    assert as_tuple(values) == expected


CALLS: list[Callable[[str], Any]] = [
    lambda name: featx.predict("images/dark/000.png", runs=name),
    lambda name: featx.corrupt(runs=name),
    lambda name: featx.extract(backbones=name),
    lambda name: featx.finetune(backbones=name),
    lambda name: featx.ensemble(methods=name),
    lambda name: featx.ensemble(members=name),
    lambda name: featx.fit(heads=name),
    lambda name: featx.cache.verify(stores=name),
    lambda name: featx.cache.compact(stores=name),
    lambda name: Study.open(None).runs(names=name),
]


def test_functions_take_a_single_name_for_one_name(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads="logreg", trials=1)
    for call in CALLS:
        with pytest.raises(FeatxError, match="'nothing'"):
            call("nothing")
    run = next(path for path in Path("runs/featx").glob("logreg-*"))
    for runs in (run, str(run), run.name):
        assert list(featx.predict("images/dark/000.png", runs=runs)) == [run.name]
