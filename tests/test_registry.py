"""Registries of names: listing, loading, suggestions."""

import subprocess
import sys

import pytest

from featx.errors import UnknownNameError
from featx.registry import BACKBONES, ENSEMBLE_METHODS, FAMILIES, HEADS, LOSSES, READERS, Registry, suggest_names

ALL = [READERS, BACKBONES, FAMILIES, HEADS, LOSSES, ENSEMBLE_METHODS]


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.group)
def test_every_listed_name_can_be_loaded(registry: Registry[object]) -> None:
    names = registry.names()
    assert names == sorted(set(names))
    assert len(names) >= 2
    assert [registry.problem(name) for name in names] == [None] * len(names)
    assert len({id(registry.get(name)) for name in names}) == len(names)


def test_the_error_of_an_unknown_name_lists_the_closest_and_all_names() -> None:
    message = (
        r"^no head is called 'xgbost'; did you mean 'xgboost'\? known: knn, lda, logreg, mlp, rf, ridge, svm, xgboost$"
    )
    with pytest.raises(UnknownNameError, match=message):
        HEADS.get("xgbost")


def test_entry_points_of_another_version_are_reported() -> None:
    registry: Registry[object] = Registry("head", "featx.group_of_a_later_version")
    with pytest.raises(UnknownNameError, match="is of another version than its code; install featx again, as by 'pip"):
        registry.get("svm")


def test_a_very_different_name_gets_no_suggestion() -> None:
    assert suggest_names("qqqq", ["seed", "size"]) == "known: seed, size"


def test_a_long_list_of_names_is_shortened() -> None:
    text = suggest_names("zz", [f"n{i:02}" for i in range(30)], limit=3)
    assert text == "known: n00, n01, n02, … (30 in all)"


def test_a_registered_entry_is_listed_beside_entry_points() -> None:
    registry: Registry[object] = Registry("head", "featx.heads")
    entry = object()
    assert registry.register("mine")(entry) is entry
    assert registry.get("mine") is entry
    assert registry.names() == sorted([*Registry("head", "featx.heads").names(), "mine"])


def test_one_entry_is_loaded_once() -> None:
    registry: Registry[object] = Registry("reader", "featx.readers")
    assert registry.get("folder") is registry.get("folder")


def test_listing_names_imports_no_entry() -> None:
    code = (
        "import sys; from featx.registry import *; [r.names() for r in (READERS, BACKBONES, HEADS, ENSEMBLE_METHODS)]; "
        "print({'torch', 'sklearn', 'pandas', 'featx.images.table'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
