"""Names of label columns and their values are in one Unicode form, however they are typed in a recipe."""

import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import featx
from featx.images.label_columns import to_plain_columns
from featx.specs.data import ReaderSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.group import GroupSpec
from featx.specs.head import HeadSpec
from featx.specs.presets import PresetSpec
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
OTHER = "x"


@pytest.mark.parametrize(
    ("spec", "name", "value"),
    [
        (TargetSpec, "classes", [NFD, OTHER]),
        (TargetSpec, "keep", [NFD, OTHER]),
        (TargetSpec, "drop", [NFD]),
        (TargetSpec, "map", {NFD: NFD}),
        (TargetSpec, "columns", [NFD, OTHER]),
        (TargetSpec, "weight", NFD),
        (TargetSpec, "confidence", NFD),
        (ReaderSpec, "keep", {NFD: [NFD]}),
        (PresetSpec, "keep", {NFD: [NFD]}),
        (GroupSpec, "column", NFD),
        (SplitSpec, "column", NFD),
        (SplitSpec, "by", NFD),
        (SplitSpec, "parts", {NFD: "train"}),
        (HeadSpec, "class_weight", {NFD: 2.0}),
        (FinetuneSpec, "class_weight", {NFD: 2.0}),
    ],
)
def test_names_of_columns_and_values_are_in_normal_form_c(spec: type[Any], name: str, value: object) -> None:
    required_fields = {"column": NFD, "source": "photos", "name": "logreg", "backbone": "efficientnet_lite0"}
    fields = {key: text for key, text in required_fields.items() if key in spec.model_fields}
    text = str(getattr(spec(**{**fields, name: value}), name))
    assert NFC in text
    assert NFD not in text


def test_names_of_label_columns_are_in_normal_form_c() -> None:
    assert list(to_plain_columns(pd.DataFrame({NFD: [1], OTHER: [2]})).columns) == [NFC, OTHER]
    assert list(to_plain_columns(pd.DataFrame({NFD: [1], NFC: [2]})).columns) == [NFD, NFC], "both are kept"


@pytest.mark.parametrize(("in_recipe", "on_disk"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_class_folders_in_another_unicode_form_are_classes(in_recipe: str, on_disk: str, home: Path) -> None:
    make_images(Path("images"), (OTHER, on_disk))
    make_images(Path("new"), (OTHER, on_disk), n_each=2)
    target = {"class": {"column": "class", "classes": [in_recipe, OTHER], "keep": [in_recipe, OTHER]}}
    heads = [{**head, "class_weight": {in_recipe: 2.0}} for head in toy_heads("logreg")]
    Path("featx.toml").write_text(toy_recipe(targets=target, head=heads))
    featx.extract()
    featx.fit()
    (prediction,) = featx.predict("new").values()
    assert prediction.classes == (NFC, OTHER)
    assert sorted(prediction.true) == sorted([NFC, NFC, OTHER, OTHER])
    assert prediction.warnings == []
