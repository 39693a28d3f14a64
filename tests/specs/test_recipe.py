"""Recipes are parsed, completed with defaults, and checked with one message per key.

Modules: specs.checkpoint_names, specs.recipe_defaults.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.errors import RecipeError
from featx.files.parsing import parse_toml
from featx.specs.embedding import EmbeddingRequest
from featx.specs.head import HeadSpec
from featx.specs.recipe import find_recipe, load_recipe, parse_recipe
from featx.specs.recipe_defaults import DEFAULT_HEADS
from featx.specs.recipe_toml import recipe_toml

SMALLEST: dict[str, Any] = {"data": {"source": "images"}, "targets": {"class": {"column": "class"}}}

OWN: dict[str, Any] = {"name": "own", "backbone": "small_cnn"}


def problems(file: Path, text: str) -> tuple[str, ...]:
    """Write a recipe and return its problems."""
    file.write_text(text)
    with pytest.raises(RecipeError, match=file.name) as error_info:
        load_recipe(file)
    return error_info.value.problems


def test_three_mistakes_are_reported_at_once_with_their_keys(tmp_path: Path) -> None:
    messages = problems(
        tmp_path / "r.toml",
        """
        [data]
        source = "images"
        [targets.class]
        column = "class"
        [split]
        sed = 3
        [[head]]
        name = "logreg"
        [[head]]
        name = "xgbost"
        trials = "many"
        """,
    )
    assert sorted(messages) == [
        "head[1].name: no head is called 'xgbost'; did you mean 'xgboost'? known: knn, lda, logreg, mlp, rf, ridge, "
        "svm, xgboost",
        "head[1].trials: found 'many', expected to be a valid integer",
        "split.sed: no such key; did you mean 'seed'? "
        "known: by, column, cut, duplicates, keep_runs, method, order, parts, repeats, second_seed, seed, seeds, "
        "stratify, test, val, val_of",
    ]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"heads": []}, "heads: no such key; did you mean 'head'?"),
        ({"name": "x"}, "name: no such key"),
        ({"split": {"cut": "together"}}, "split.cut: found 'together', expected a function"),
        ({"head": [{"name": "svm", "warm": True}]}, "head[0].warm: no such key; it was renamed to 'warm_start'"),
        ({"extraction": {"least_cosine": 0.9}}, "extraction.least_cosine: no such key; it was renamed to 'min_cosine'"),
        ({"data": {"sorce": "x"}}, "data.sorce: no such key; did you mean 'source'? known: arrays, drop_unlabelled"),
        ({"data": {}}, "data.source: is missing"),
        ({"data": {"source": ".", "labels": {"file": "x", "colums": []}}}, "data.labels.colums: no such key; did you"),
        (
            {"data": {"source": ".", "reader": "foldr"}},
            "data.reader: no reader is called 'foldr'; did you mean 'folder'",
        ),
        ({"targets": {"class": {"colum": "x"}}}, "targets.class.colum: no such key; did you mean 'column'?"),
        ({"groups": {"cell": 3}}, "groups.cell: found 3, expected a table"),
        ({"split": {"test": 0.6, "val": 0.5}}, "split: test + val = 1.1, expected less than 1"),
        ({"split": {"test": float("nan")}}, "split.test: found nan, expected a share"),
        ({"embedding": []}, "embedding: found []"),
        ({"head": []}, "head: found [], expected a [[head]] on the embeddings"),
        ({"embedding": [{"tap": []}]}, "embedding[0].tap: found []"),
        ({"embedding": [{"pool": "agv"}]}, "embedding[0].pool: found 'agv', expected to be 'avg', 'max'"),
        ({"embedding": [{"pool": ["avg", "agv"]}]}, "embedding[0].pool[1]: found 'agv'"),
        (
            {"embedding": [{"backbone": "vgg"}]},
            "embedding[0].backbone: no backbone is called 'vgg'; did you mean 'vgg16'",
        ),
        ({"head": [{"name": "svm", "class_weight": {"a": -1}}]}, "head[0].class_weight.a: found -1"),
        (
            {"ensemble": [{"methods": ["sofd"]}]},
            "ensemble[0].methods: no ensemble method is called 'sofd'; did you mean 'soft'?",
        ),
        ({"head": [{"name": "svm", "trials": "4"}]}, "head[0].trials: found '4', expected to be a valid integer"),
        ({"head": [{"name": "svm", "timeout_s": True}]}, "head[0].timeout_s: found True, expected to be a valid num"),
        ({"embedding": [{"mean": ["0.5"]}]}, "embedding[0].mean[0]: found '0.5', expected to be a valid number"),
        (
            {"finetune": [{"backbone": "vgg16", "batch_size": "8"}]},
            "finetune[0].batch_size: found '8'",
        ),
        ({"data": {"source": ".", "drop_unlabelled": "yes"}}, "data.drop_unlabelled: found 'yes', expected to be a"),
        ({"paths": {"cach": "x"}}, "paths.cach: no such key; did you mean 'cache'? known: cache, local_cache, runs"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_problem_is_reported_with_the_path_of_its_key(section: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parse_recipe(SMALLEST | section, tmp_path / "r.toml")
    assert any(message.startswith(problem) for message in error_info.value.problems)


def test_numbers_of_numpy_are_numbers() -> None:
    spec = HeadSpec(name="svm", trials=np.int64(4), timeout_s=np.float32(1.5))
    assert (type(spec.trials), type(spec.timeout_s)) == (int, float)


def test_a_wrong_item_does_not_also_make_its_list_too_short(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="agv") as error_info:
        parse_recipe(SMALLEST | {"embedding": [{"pool": "agv"}]}, tmp_path / "r.toml")
    assert all(message.startswith("embedding[0].pool: ") for message in error_info.value.problems)


def test_a_missing_recipe_names_featx_init(home: Path) -> None:
    with pytest.raises(RecipeError, match=r"^featx\.toml: no such recipe; write one with 'featx init SOURCE'"):
        load_recipe()
    with pytest.raises(RecipeError, match=r"^gone\.toml: no such recipe"):
        load_recipe("gone.toml")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("content", [b"[data", b"a = 1\na = 2", b"\xff\xfe", b"source = images"])
def test_a_file_that_is_not_toml_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"r\.toml: is not TOML: "):
        load_recipe(tmp_path / "r.toml")


def test_a_path_precedes_the_environment_and_featx_toml(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("featx.toml", "environment.toml", "named.toml"):
        (home / name).touch()
    assert find_recipe() == Path("featx.toml")
    monkeypatch.setenv("FEATX_RECIPE", "environment.toml")
    assert find_recipe() == Path("environment.toml")
    assert find_recipe("named.toml") == Path("named.toml")


def test_a_recipe_may_begin_with_a_byte_order_mark(toy_home: Path) -> None:
    text = Path("featx.toml").read_text()
    Path("marked.toml").write_text(text, encoding="utf-8-sig")
    assert load_recipe("marked.toml").targets == load_recipe("featx.toml").targets


def test_a_recipe_knows_its_name_and_folder_and_is_loaded_once(toy_home: Path) -> None:
    recipe = load_recipe()
    assert (recipe.name, recipe.folder) == ("featx", toy_home.resolve())
    assert load_recipe(recipe) is recipe


def test_missing_sections_have_defaults(tmp_path: Path) -> None:
    recipe = parse_recipe(SMALLEST, tmp_path / "r.toml")
    assert [head.name for head in recipe.head] == list(DEFAULT_HEADS)
    assert recipe.requests == (EmbeddingRequest(),)
    assert (recipe.split.test, recipe.split.val, recipe.groups) == (None, 0.15, {})


def test_a_list_of_taps_or_pools_is_a_grid_without_duplicates(tmp_path: Path) -> None:
    sections = [{"tap": ["a", "b"], "pool": ["avg", "max"]}, {"tap": "b"}, {"backbone": "vgg16"}]
    requests = parse_recipe(SMALLEST | {"embedding": sections}, tmp_path / "r.toml").requests
    names = [f"{request.backbone}/{request.tap}/{request.pool}" for request in requests]
    lite = "efficientnet_lite0"
    assert names == [f"{lite}/a/avg", f"{lite}/a/max", f"{lite}/b/avg", f"{lite}/b/max", "vgg16/last/avg"]
    assert [request.name for request in requests] == names


def test_a_weights_file_is_relative_to_the_recipe(tmp_path: Path) -> None:
    sections = [{"weights": "w.pth"}, {"weights": "none"}, {"weights": "/w.pth"}]
    requests = parse_recipe(SMALLEST | {"embedding": sections}, tmp_path / "r.toml").requests
    assert [request.weights for request in requests] == [str(tmp_path.resolve() / "w.pth"), "none", "/w.pth"]


def test_a_head_has_the_recipes_settings_or_the_defaults(tmp_path: Path) -> None:
    recipe = parse_recipe(SMALLEST | {"head": [{"name": "rf", "trials": 3}]}, tmp_path / "r.toml")
    assert [head.trials for head in recipe.head_specs("rf")] == [3]
    assert recipe.head_specs("svm") == [HeadSpec(name="svm")]


def test_a_named_section_for_one_target_is_shown_as_it_was_written(tmp_path: Path) -> None:
    networks = [OWN | {"target": "class", "lr": [0.1, 0.2], "seed": 3}]
    recipe = parse_recipe(SMALLEST | {"finetune": networks, "seed": 5}, tmp_path / "r.toml")
    assert parse_recipe(parse_toml(recipe_toml(recipe)), tmp_path / "r.toml") == recipe


def test_one_seed_is_that_of_all_sections_without_their_own(tmp_path: Path) -> None:
    sections = {
        "seed": 7,
        "split": {"val": 0.2},
        "finetune": [{"lr": [1e-3, 1e-4]}, {"seed": [1, 2]}],
        "embedding": [{}],
    }
    recipe = parse_recipe(SMALLEST | sections, tmp_path / "r.toml")
    assert (recipe.seed, recipe.split.seed, recipe.split.val) == (7, 7, 0.2)
    assert {head.seed for head in recipe.head} == {7}
    assert [[run.seed for run in section.runs] for section in recipe.finetune] == [[7, 7], [1, 2]]
    assert [section.seed for section in recipe.ensemble] == [7]
    assert recipe.head_specs("lda") == [HeadSpec(name="lda", seed=7)]
    seeded_sections = {
        "split": {"seed": 1},
        "head": [{"name": "rf", "seed": 2}, {"name": "rf"}],
        "ensemble": [{"seed": 3}],
    }
    recipe = parse_recipe(SMALLEST | seeded_sections | {"seed": 7}, tmp_path / "r.toml")
    assert [recipe.split.seed, *(head.seed for head in recipe.head), recipe.ensemble[0].seed] == [1, 2, 7, 3]
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parse_recipe(SMALLEST | {"seed": "x", "head": "rf"}, tmp_path / "r.toml")
    assert any(problem.startswith("seed: found 'x'") for problem in error_info.value.problems)


@pytest.mark.parametrize(
    ("networks", "problem"),
    [
        ([OWN, OWN], "finetune[0].name: 2 sections are called 'own'"),
        ([OWN | {"lr": [0.1, 0.2]}], "embedding[0].backbone: section 'own' has 2 runs, expected one; name a run with"),
        ([{"backbone": "checkpoint:own"}, OWN], "finetune[0].backbone: section 'own' is trained later; move its"),
        ([OWN | {"backbone": "checkpoint:own"}], "finetune[0].backbone: section 'own' is trained later"),
        ([OWN | {"name": "a-b"}], "finetune[0].name: found 'a-b'"),
    ],
)
def test_a_section_that_is_no_backbone_is_reported(
    networks: list[dict[str, Any]], problem: str, tmp_path: Path
) -> None:
    sections = {"embedding": [{"backbone": "checkpoint:own"}], "finetune": networks, "head": [{"name": "rf"}]}
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parse_recipe(SMALLEST | sections, tmp_path / "r.toml")
    assert any(message.startswith(problem) for message in error_info.value.problems), error_info.value.problems


@pytest.mark.parametrize("kind", ["embedding", "finetune"])
def test_weights_of_a_run_are_refused_and_its_checkpoint_named(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r" / "own-12345678"
    run.mkdir(parents=True)
    for name in ("model.safetensors", "header.json"):
        (run / name).touch()
    sections = {kind: [{"backbone": "mobilenet_v2", "weights": "runs/r/own-12345678/model.safetensors"}]}
    with pytest.raises(RecipeError, match=r"r\.toml") as error_info:
        parse_recipe(SMALLEST | sections, tmp_path / "r.toml")
    [problem] = error_info.value.problems
    assert problem.startswith(f"{kind}[0].weights: 'runs/r/own-12345678/model.safetensors' is the file of a fine-tuned")
    assert f"expected backbone = 'checkpoint:{run}'" in problem
    (run / "header.json").unlink()
    assert parse_recipe(SMALLEST | sections, tmp_path / "r.toml").folder == tmp_path


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[2].glob("pipelines/*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_featx_are_valid(file: Path) -> None:
    assert load_recipe(file).name == file.stem


def test_featx_contains_recipes() -> None:
    assert list(Path(__file__).parents[2].glob("pipelines/*.toml"))


SECTIONS_WITH_SEEDS: list[tuple[str, dict[str, Any]]] = [
    ("seed", {"seed": -1}),
    ("split.seed", {"split": {"seed": -1}}),
    ("split.seeds[1]", {"split": {"seeds": [0, 2**32]}}),
    ("split.second_seed", {"split": {"method": "train_test_split", "second_seed": 2**32}}),
    ("head[0].seed", {"head": [{"name": "rf", "seed": -1}]}),
    ("finetune[0].seed", {"finetune": [OWN | {"seed": 2**32}]}),
    ("finetune[0].seed", {"finetune": [OWN | {"seed": [0, -1]}]}),
    ("ensemble[0].seed", {"ensemble": [{"seed": -1}]}),
    ("attack[0].seed", {"attack": [{"seed": -1}]}),
    ("smoothing[0].seed", {"smoothing": [{"run": "rf", "sigma": 0.25, "seed": -1}]}),
    ("corruption.seed", {"corruption": {"seed": 2**32}}),
]


@pytest.mark.parametrize(("key", "section"), SECTIONS_WITH_SEEDS)
def test_seeds_are_numbers_of_32_bits(key: str, section: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error_info:
        parse_recipe(SMALLEST | section, tmp_path / "r.toml")
    (problem,) = error_info.value.problems
    assert re.match(rf"{re.escape(key)}: found (-1, .* greater than or equal to 0|4294967296, .* less than )", problem)


def test_seeds_of_repeats_end_at_32_bits(tmp_path: Path) -> None:
    split = {"seed": 2**32 - 2, "repeats": 2}
    assert parse_recipe(SMALLEST | {"split": split}, tmp_path / "r.toml").split.outer_seeds == (2**32 - 2, 2**32 - 1)
    with pytest.raises(RecipeError, match="split: the seeds of repeats = 3 end at 4294967296, expected less"):
        parse_recipe(SMALLEST | {"split": split | {"repeats": 3}}, tmp_path / "r.toml")


@pytest.mark.parametrize("weight", [0, 1e300, 1e-300])
def test_class_weights_are_numbers_within_limits(weight: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"head\[0\].class_weight.cat: found .* expected to be (less|greater) than"):
        parse_recipe(SMALLEST | {"head": [{"name": "rf", "class_weight": {"cat": weight}}]}, tmp_path / "r.toml")


def test_a_network_is_trained_by_one_section(tmp_path: Path) -> None:
    again = OWN | {"name": "again"}
    with pytest.raises(RecipeError, match=r"finetune\[1\]: trains a network of finetune\[0\] again, with the same"):
        parse_recipe(SMALLEST | {"finetune": [OWN | {"lr": [1e-3, 1e-4]}, again | {"lr": 1e-4}]}, tmp_path / "r.toml")
    for other in ({"seed": 1}, {"lr": 1e-5}):
        assert parse_recipe(SMALLEST | {"finetune": [OWN, again | other]}, tmp_path / "r.toml").finetune
    targets = {name: {"column": name} for name in ("class", "size")}
    sections = [OWN | {"target": "class"}, again | {"target": "size"}]
    assert parse_recipe(SMALLEST | {"targets": targets, "finetune": sections}, tmp_path / "r.toml").finetune
