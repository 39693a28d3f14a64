"""Names of label columns and their values are in one Unicode form, however they are typed in a recipe."""

import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import featx
from featx.errors import RecipeError
from featx.images.label_columns import to_plain_columns
from featx.images.name_pattern import match_name
from featx.images.readers import read_source
from featx.specs.data import ReaderSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.group import GroupSpec
from featx.specs.head import HeadSpec
from featx.specs.presets import PresetSpec
from featx.specs.recipe import parse_recipe
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


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ({"targets": {"a": {"column": "a", "map": {NFC: OTHER, NFD: OTHER}}}}, "map"),
        ({"head": [{"name": "logreg", "class_weight": {NFC: 1.0, NFD: 2.0}}]}, "class_weight"),
        ({"groups": {NFC: {"column": "a"}, NFD: {"column": "b"}}}, "groups"),
        ({"data": {"source": "images", "keep": {NFC: ["1"], NFD: ["2"]}}}, "keep"),
    ],
)
def test_equal_keys_in_two_unicode_forms_are_refused(section: dict[str, Any], value: str, home: Path) -> None:
    with pytest.raises(
        RecipeError, match=f"{value} has the key '{NFC}' twice, in two Unicode forms; expected different"
    ):
        parse_recipe({"data": {"source": "images"}} | section, home / "featx.toml")


def test_names_of_targets_are_compared_in_normal_form_c(home: Path) -> None:
    content = {
        "data": {"source": "images"},
        "targets": {NFD: {"column": "class"}, OTHER: {"column": "class"}},
        "head": [{"name": "logreg", "target": NFC}],
    }
    recipe = parse_recipe(content, home / "featx.toml")
    assert list(recipe.targets) == [NFC, OTHER]
    assert recipe.head_specs("logreg", NFC)[0].target == NFC


@pytest.mark.parametrize(("in_table", "named"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_columns_of_paths_and_targets_are_found_in_every_unicode_form(in_table: str, named: str, home: Path) -> None:
    make_images(Path("images"), ("a", "b"))
    rows = [f"{path.relative_to('images')},{path.parent.name}" for path in sorted(Path("images").rglob("*.png"))]
    Path("labels.csv").write_text("\n".join([f"{in_table}_path,{in_table}", *rows]))
    featx.init("images", labels="labels.csv", target=named)
    assert f'column = "{NFC}"' in Path("featx.toml").read_text()
    data = {"source": "images", "labels": {"file": "../labels.csv", "path": f"{named}_path"}}
    listing = read_source(ReaderSpec.model_validate(data), home)
    assert list(listing.manifest.labels.columns) == [NFC]
    assert len(listing.manifest.ids) == len(rows)


@pytest.mark.parametrize("on_disk", [NFC, NFD])
@pytest.mark.parametrize("in_pattern", [NFC, NFD])
def test_patterns_of_names_fit_every_unicode_form(in_pattern: str, on_disk: str) -> None:
    assert match_name(f"{in_pattern}_{{kind}}", f"{on_disk}_{on_disk}.png") == {"kind": NFC}
