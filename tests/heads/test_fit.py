"""Fitting of heads from a recipe to a run folder.

Modules: heads.head_run, heads.job.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import DataError, IncompleteError, RecipeError, UnknownNameError
from featx.heads.fit import FitResult
from featx.specs.head import HeadSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics
from featx.study.study import Study
from tests.processes import start_script
from tests.recipes import TOY_RECIPE, toy_heads, toy_recipe


def test_two_specs_of_one_head_are_two_runs(toy_home: Path) -> None:
    heads = [*toy_heads("logreg", "rf"), *toy_heads("logreg", folds=4)]
    Path("featx.toml").write_text(toy_recipe(head=heads))
    featx.extract()
    assert len({run.run for run in featx.fit()}) == 3
    assert len({run.run for run in featx.fit(heads=["logreg"])}) == 2


def test_an_embedding_of_another_size_is_not_used(toy_home: Path) -> None:
    featx.extract()
    Path("featx.toml").write_text(TOY_RECIPE.replace('weights = "none"', 'weights = "none"\nsize_px = 20'))
    featx.extract()
    (run,) = featx.fit(heads=["logreg"], embedding="toy/last/avg,weights=none,size_px=20")
    assert json.loads((Path(run.path) / "header.json").read_text())["n_features"] == 8


def test_a_run_folder_is_complete(toy_home: Path) -> None:
    featx.extract()
    (run,) = featx.fit(heads=["logreg"])
    assert {path.name for path in Path(run.path).iterdir()} == {
        "header.json",
        "metrics.json",
        "model.joblib",
        "predictions.parquet",
        "spec.json",
        "trials.journal",
    }
    header = json.loads((Path(run.path) / "header.json").read_text())
    assert header["classes"] == ["dark", "light"]
    assert header["n_features"] == 8
    assert len(header["golden"]["outputs"]) == 5


def test_an_equal_run_is_not_repeated(toy_home: Path) -> None:
    featx.extract()
    (first,) = featx.fit(heads=["logreg"])
    (again,) = featx.fit(heads=["logreg"])
    (changed_run,) = featx.fit(heads=["logreg"], trials=3)
    (forced_run,) = featx.fit(heads=["logreg"], force=True)
    assert [first.is_new, again.is_new, changed_run.is_new, forced_run.is_new] == [True, False, True, True]
    assert first.run == again.run == forced_run.run != changed_run.run
    assert {path.suffix for path in Path("runs/featx").glob(".*")} <= {".lock", ".turn"}


def test_fitting_and_loading_import_no_torch(toy_home: Path) -> None:
    featx.extract()
    code = """
import sys, featx
from featx.registry import BACKBONES
BACKBONES.register("toy")(None)
runs = featx.fit(heads=["logreg", "rf"])
featx.ensemble()
featx.load(runs[0].path)
featx.evaluate()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_target_gets_a_run(toy_home: Path) -> None:
    target = {"column": "class", "classes": ["light", "dark"]}
    Path("featx.toml").write_text(toy_recipe(targets={"class": {"column": "class"}, "again": target}))
    featx.extract()
    runs = featx.fit(heads=["logreg"])
    assert [run.target for run in runs] == ["class", "again"]
    orders = [Study.open(None).truth(run.target).classes for run in runs]
    assert orders == [("dark", "light"), ("light", "dark")]
    assert len(featx.fit(heads=["logreg"], target="again")) == 1
    with pytest.raises(DataError, match="no target is called 'other'; targets: class, again"):
        featx.fit(target="other")


def test_fitting_before_extracting_is_refused(toy_home: Path) -> None:
    with pytest.raises(IncompleteError, match="run 'featx extract'"):
        featx.fit()


def test_an_unknown_head_is_refused_before_reading(home: Path) -> None:
    with pytest.raises(UnknownNameError, match="no head is called 'xgbost'; did you mean 'xgboost'"):
        featx.fit(heads=["xgbost"])


def test_two_simultaneous_fits_make_one_run(toy_home: Path) -> None:
    featx.extract()
    code = """
import featx
from featx.registry import BACKBONES
BACKBONES.register("toy")(None)
(run,) = featx.fit(heads="logreg", trials=8)
print(run.is_new, run.n_trials)
"""
    processes = [start_script(code, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = sorted(process.communicate()[0].strip() for process in processes)
    assert outputs == ["False 8", "True 8"]


TWO_EMBEDDINGS = [{"backbone": "toy", "weights": "none"}, {"backbone": "deep", "weights": "none"}]


def write_recipe(embeddings: object) -> None:
    """Write a recipe with two embeddings and one head that uses some of them."""
    head = {"name": "ridge", "trials": 6, "folds": 3, "embeddings": embeddings}
    Path("featx.toml").write_text(toy_recipe(embedding=TWO_EMBEDDINGS, head=[head]))


def test_the_choice_of_embeddings_is_searched(toy_home: Path) -> None:
    write_recipe("search")
    featx.extract()
    (run,) = featx.fit()
    metrics = RunFolder(Path(run.path)).metrics
    assert isinstance(metrics, HeadMetrics)
    tried_embeddings = {trial.embeddings for trial in metrics.search.trials}
    names = [embedding.request.name for embedding in Study.open(None).locked]
    assert len(tried_embeddings) > 1
    assert tried_embeddings <= {*names, " + ".join(names)}
    model = featx.load(run.path)
    assert " + ".join(embedding.request.name for embedding in model.embeddings) == run.embeddings
    assert len(featx.predict(["images/dark/000.png"])[run.run].images) == 1


def test_a_head_uses_the_embeddings_that_it_names(toy_home: Path) -> None:
    write_recipe(["deep", "all"])
    featx.extract()
    runs = featx.fit()
    models = [featx.load(run.path) for run in runs]
    backbones = [[embedding.request.backbone for embedding in model.embeddings] for model in models]
    assert backbones == [["deep"], ["toy", "deep"]]
    assert runs[0].run.startswith("ridge-deep-")
    (repeated_run,) = featx.fit(embedding="deep")
    assert (repeated_run.run, repeated_run.is_new) == (runs[0].run, False)


def test_an_unknown_embedding_is_refused(toy_home: Path) -> None:
    write_recipe("dep")
    with pytest.raises(
        RecipeError, match=r"head\[0\].embeddings: no embedding is called 'dep'; known: all, search, toy/last"
    ):
        featx.extract()


def test_embeddings_of_one_backbone_and_tap_are_listed_by_their_full_names(toy_home: Path) -> None:
    toy = {"backbone": "toy", "weights": "none"}
    sizes = [toy, {**toy, "size_px": 24}]
    Path("featx.toml").write_text(toy_recipe(embedding=sizes, head=[{"name": "ridge", "embeddings": ["each"]}]))
    with pytest.raises(RecipeError, match=r"search.*toy/last/avg,weights=none, toy/last/avg,weights=none,size_px=24"):
        featx.extract()


def test_the_one_standard_error_rule_chooses_a_simpler_setting(toy_home: Path) -> None:
    featx.extract()
    runs = {}
    for rule in ("best", "one_se"):
        spec = HeadSpec(name="logreg", trials=4, folds=3, rule=rule, embeddings="all")
        (runs[rule],) = featx.fit(heads=[spec])
    best, simple = runs["best"], runs["one_se"]
    assert simple.cv_score <= best.cv_score
    assert simple.params["scaling"] == best.params["scaling"]
    assert simple.params["C"] <= best.params["C"]


def test_nested_folds_that_cannot_be_made_are_refused_before_the_search(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(DataError, match=r"99 folds need one each; set a smaller 'nested' in \[\[head\]\]"):
        featx.fit(heads="svm", trials=3, nested=99)
    assert not list(Path("runs/featx").glob(".trials-*.journal"))


def test_nested_searches_are_scored_and_warm_ones_reuse_settings(toy_home: Path) -> None:
    featx.extract()
    (cold,) = featx.fit(heads="svm", trials=3, nested=2)
    assert cold.nested_score is not None
    assert 0.5 < cold.nested_score <= 1
    (warm,) = featx.fit(heads=[HeadSpec(name="svm", trials=2, warm_start=True, folds=3)])
    trials = json.loads((Path(warm.path) / "metrics.json").read_text())["search"]["trials"]
    cold_trials = json.loads((Path(cold.path) / "metrics.json").read_text())["search"]["trials"]
    best = max(cold_trials, key=lambda trial: trial["score"])
    assert best["suggested"] in [trial["suggested"] for trial in trials]


def suggested_settings(run: FitResult) -> list[dict[str, Any]]:
    """Return the settings of a run's trials as they were suggested."""
    metrics = RunFolder(Path(run.path)).metrics
    assert isinstance(metrics, HeadMetrics)
    return [trial.suggested for trial in metrics.search.trials]


@pytest.mark.parametrize("earlier", [{"trials": 0}, {"space": {"scaling": ["standard_l2"]}}])
def test_a_warm_search_starts_after_runs_that_it_cannot_repeat(toy_home: Path, earlier: dict[str, Any]) -> None:
    featx.extract()
    featx.fit(heads=HeadSpec(name="ridge", folds=3, **{"trials": 1} | earlier))
    (warm,) = featx.fit(heads=HeadSpec(name="ridge", trials=3, folds=3, warm_start=True))
    assert warm.n_trials == 3
    assert {setting["scaling"] for setting in suggested_settings(warm)} <= {"none", "standard", "l2", "pca"}


def test_a_warm_search_starts_without_embeddings_that_were_removed(toy_home: Path) -> None:
    write_recipe("search")
    featx.extract()
    featx.fit(heads=HeadSpec(name="ridge", trials=3, folds=3, embeddings="search", space={"scaling": ["l2"]}))
    embeddings = [TWO_EMBEDDINGS[1], TWO_EMBEDDINGS[0] | {"size_px": 24}]
    Path("featx.toml").write_text(toy_recipe(embedding=embeddings, head=[{"name": "ridge"}]))
    featx.extract()
    warm_spec = HeadSpec(name="ridge", trials=2, folds=3, warm_start=True, embeddings="search")
    (warm,) = featx.fit(heads=warm_spec)
    assert warm.n_trials == 2
    (single,) = featx.fit(heads=warm_spec.model_copy(update={"embeddings": "all"}))
    assert all("embeddings" not in setting for setting in suggested_settings(single))
