"""The contract that every registered head keeps, and the path from cached embeddings to a run folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline

import featx
from featx.errors import DataError, IncompleteError, RecipeError, UnknownNameError
from featx.heads.builtin import Head, HeadTask
from featx.heads.fitting import fitted, learnt_in_folds
from featx.heads.folds import TrainRows, check_folds
from featx.heads.search.journal import TrialJournal
from featx.heads.search.search import SearchSpace, search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import ClassWeight, HeadSpec
from featx.study.study import Study
from featx.tables.sample_weights import class_weights, weights_without_classes
from featx.tables.target_values import TargetValues
from featx.tables.truth import Truth
from tests.conftest import TOY_RECIPE

FIVE_FOLDS = HeadSpec(name="rf")


def digits(n_classes: int, n_rows: int = 240) -> TrainRows:
    x, y = load_digits(n_class=n_classes, return_X_y=True)
    names = tuple(map(str, range(n_classes)))
    return TrainRows(x[:n_rows].astype(np.float32), TargetValues("classes", names, y[:n_rows].astype(np.int64)))


def head_for(name: str, rows: TrainRows, seed: int = 0) -> Head:
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.facts.n_outputs, seed, rows.facts.kind))
    return head


def start_of(head: Head) -> dict[str, Any]:
    """Return a whole setting: the start, and the middle of what every trial tries all values of."""
    path = head.path
    return dict(head.start) | ({path.name: path.values[len(path.values) // 2]} if path and path.name else {})


@pytest.fixture(params=HEADS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_head_is_searched_fitted_and_gives_probabilities(name: str, n_classes: int, tmp_path: Path) -> None:
    rows, spec = digits(n_classes), HeadSpec(name=name, trials=2, folds=3)
    head = head_for(name, rows)
    found = search({"": SearchSpace(head, rows)}, spec, tmp_path / "journal", no_progress)
    assert len(found.trials) + found.n_pruned == 2
    assert found.score == max(trial["score"] for trial in found.trials) > 0.9
    _, unseen = learnt_in_folds(head, found.params, rows, spec)
    proba, fold_of = unseen.answers, unseen.fold_of
    assert proba.shape == (240, n_classes)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert set(fold_of) == {0, 1, 2}
    assert (proba.argmax(1) == rows.facts.y).mean() > 0.9
    model = fitted(head, found.params, rows, head.usual_calibration, FIVE_FOLDS)
    assert isinstance(model, Pipeline)
    assert model.classes_.tolist() == list(range(n_classes))


def test_the_same_seed_gives_the_same_search(name: str, tmp_path: Path) -> None:
    rows, spec = digits(3, 120), HeadSpec(name=name, trials=3, folds=3, seed=7)
    head = head_for(name, rows, 7)
    first, second = (search({"": SearchSpace(head, rows)}, spec, tmp_path / run, no_progress) for run in "ab")
    assert first.trials == second.trials


def test_a_timeout_stops_after_the_trial_under_way(tmp_path: Path) -> None:
    rows, spec = digits(2), HeadSpec(name="logreg", trials=500, timeout_s=0.2, folds=3)
    found = search({"": SearchSpace(head_for("logreg", rows), rows)}, spec, tmp_path / "j", no_progress)
    assert 1 <= len(found.trials) < 500


def test_a_heavier_class_is_guessed_more_often(name: str) -> None:
    rng = np.random.default_rng(0)
    codes = (np.arange(300) % 5 == 0).astype(np.int64)
    x, others = ((rng.normal(size=(300, 4)) + 0.5 * codes[:, None]).astype(np.float32) for _ in range(2))
    guessed = {}
    for weight in ("none", "balanced"):
        spec = HeadSpec(name=name, class_weight=weight)
        facts = TargetValues("classes", ("rest", "rare"), codes)
        weights = class_weights("head", spec.class_weight, truth_of(codes, "rest", "rare"), np.ones(300))
        rows = TrainRows(x, facts, class_weights=weights)
        head = head_for(name, rows)
        if not head.weighs:
            pytest.skip(f"{name} takes no weights, and says so")
        params = start_of(head) | ({"min_samples_leaf": 30} if name == "rf" else {})
        guessed[weight] = int(fitted(head, params, rows, head.usual_calibration, FIVE_FOLDS).predict(others).sum())
    assert guessed["balanced"] > guessed["none"]


def truth_of(codes: np.ndarray, *classes: str, weights: np.ndarray | None = None) -> Truth:
    """Name some codes' rows by number."""
    return Truth(np.array([str(row) for row in range(len(codes))], dtype=object), codes, classes, weights)


def row_weights(what: str, class_weight: ClassWeight, truth: Truth) -> np.ndarray:
    """Return (n,) weights of rows times those of their classes, as a head learns with them."""
    weights = weights_without_classes(truth)
    of_class = class_weights(what, class_weight, truth, weights)
    return weights if of_class is None else weights * of_class[truth.codes]


def test_rows_weigh_what_the_target_says_times_their_class() -> None:
    codes, own = np.array([0, 0, 0, 1]), np.array([1.0, 0.5, 0.0, 1.0])
    plain = row_weights("head", "none", truth_of(codes, "a", "b", weights=own))
    assert plain.tolist() == (own / own.mean()).tolist()
    heavier = row_weights("head", {"b": 3}, truth_of(codes, "a", "b", weights=own))
    assert (heavier / heavier[0]).tolist() == [1, 0.5, 0, 3]
    with pytest.raises(DataError, match="all train rows weigh 0"):
        row_weights("head", "none", truth_of(codes, "a", "b", weights=np.zeros(4)))


def test_class_weights_balance_have_mean_one_and_know_their_classes() -> None:
    codes = np.array([0, 0, 0, 1])
    balanced = row_weights("head", "balanced", truth_of(codes, "a", "b"))
    assert balanced[codes == 0].sum() == pytest.approx(balanced[codes == 1].sum())
    given = row_weights("head", {"b": 3}, truth_of(codes, "a", "b"))
    assert given[3] / given[0] == pytest.approx(3)
    assert balanced.mean() == pytest.approx(given.mean()) == pytest.approx(1)
    with pytest.raises(DataError, match="class_weight names 'c'; classes: a, b"):
        row_weights("head", {"c": 2}, truth_of(codes, "a", "b"))


def test_no_row_is_held_out_twice_or_never() -> None:
    folds = digits(3).folds(4, seed=0)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(240))
    assert all(not set(train) & set(held_out) for train, held_out in folds)


def rows_of(codes: list[int], groups: list[int] | None = None) -> TrainRows:
    n = len(codes)
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    facts = TargetValues("classes", ("often", "rare"), np.array(codes))
    return TrainRows(x, facts, None, None if groups is None else np.array(groups))


def test_a_class_with_too_few_rows_is_named() -> None:
    with pytest.raises(DataError, match="class 'rare' has 4 train rows, 5 folds need at least 5"):
        check_folds(rows_of([0] * 20 + [1] * 4), HeadSpec(name="rf"))


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
def test_rows_that_pass_the_check_can_be_fitted_by_every_head(name: str, folds: int) -> None:
    spec = HeadSpec(name=name, folds=folds)
    for n_rare in range(1, 8):
        rows = rows_of([0] * 20 + [1] * n_rare)
        try:
            check_folds(rows, spec)
        except DataError:
            continue
        head = head_for(name, rows)
        proba = learnt_in_folds(head, start_of(head), rows, spec)[1].answers
        assert np.isfinite(proba).all()
        break
    else:
        pytest.fail("no number of rows passed")


@given(seed=st.integers(0, 1000), n_groups=st.integers(12, 30))
def test_no_row_is_predicted_by_a_model_that_saw_its_group(seed: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, 200)
    rows = rows_of(rng.integers(0, 2, 200).tolist(), groups.tolist())
    for train, held_out in rows.folds(5, seed):
        assert not set(groups[train]) & set(groups[held_out])


def test_groups_that_cannot_be_folded_are_said() -> None:
    with pytest.raises(DataError, match=r"split.by and copies leave 3 groups in train, 5 folds need one each"):
        check_folds(rows_of([0, 1] * 15, [0, 1, 2] * 10), HeadSpec(name="rf"))
    with pytest.raises(DataError, match="class 'rare' has 1 different train images"):
        check_folds(rows_of([0] * 50 + [1] * 10, [*range(50), *[99] * 10]), HeadSpec(name="rf"))


def test_an_interrupted_search_goes_on_where_it_stopped(toy_home: Path) -> None:
    featx.extract()

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("tune") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        featx.fit(heads=["logreg"], trials=5, progress=impatient)
    seen: list[tuple[str, int]] = []
    (run,) = featx.fit(
        heads=["logreg"], trials=5, progress=lambda stage, done, _total, _note="": seen.append((stage, done))
    )
    assert run.n_trials == 5
    assert [done for stage, done in seen if stage.startswith("tune")] == [3, 4, 5]
    fits = [done for stage, done in seen if stage == "fit logreg"]
    assert fits == [1, 2, 3, 4, 5, 6, 7]  # three folds, all rows, three folds behind one scaling
    params = [json.dumps(t["params"]) for t in json.loads((Path(run.path) / "metrics.json").read_text())["trials"]]
    assert len(params) + run.n_pruned == 5
    assert (Path(run.path) / "trials.journal").is_file()
    assert not list(Path("runs/featx").glob(".trials*.journal"))


def test_two_settings_of_one_head_are_two_runs(toy_home: Path) -> None:
    text = TOY_RECIPE + '\n[[head]]\nname = "logreg"\ntrials = 1\nfolds = 4\n'
    Path("featx.toml").write_text(text)
    featx.extract()
    assert len({run.run for run in featx.fit()}) == 3
    assert len({run.run for run in featx.fit(heads=["logreg"])}) == 2


def test_the_embedding_of_another_size_is_not_taken_along(toy_home: Path) -> None:
    featx.extract()
    Path("featx.toml").write_text(TOY_RECIPE.replace('weights = "none"', 'weights = "none"\nsize_px = 20'))
    featx.extract()
    (run,) = featx.fit(heads=["logreg"], embedding="toy/last/avg,weights=none,size_px=20")
    assert json.loads((Path(run.path) / "header.json").read_text())["n_features"] == 8


def test_searching_by_log_loss_uses_probabilities(tmp_path: Path) -> None:
    rows, spec = digits(2, 100), HeadSpec(name="svm", metric="log_loss", trials=1, folds=3)
    found = search({"": SearchSpace(head_for("svm", rows), rows)}, spec, tmp_path / "j", no_progress)
    assert -0.5 < found.score < 0


# From a recipe to a run folder


def test_a_run_folder_holds_what_it_should(toy_home: Path) -> None:
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


def test_an_equal_run_is_not_made_twice_and_a_changed_one_is(toy_home: Path) -> None:
    featx.extract()
    (first,) = featx.fit(heads=["logreg"])
    (again,) = featx.fit(heads=["logreg"])
    (other,) = featx.fit(heads=["logreg"], trials=3)
    (forced,) = featx.fit(heads=["logreg"], force=True)
    assert [first.made, again.made, other.made, forced.made] == [True, False, True, True]
    assert first.run == again.run == forced.run != other.run
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


def test_several_targets_give_a_run_each(toy_home: Path) -> None:
    text = TOY_RECIPE.replace("[split]", '[targets.again]\ncolumn = "class"\nclasses = ["light", "dark"]\n\n[split]')
    Path("featx.toml").write_text(text)
    featx.extract()
    runs = featx.fit(heads=["logreg"])
    assert [run.target for run in runs] == ["class", "again"]
    orders = [Study.open(None).truth(run.target).classes for run in runs]
    assert orders == [("dark", "light"), ("light", "dark")]
    assert len(featx.fit(heads=["logreg"], target="again")) == 1
    with pytest.raises(DataError, match="no target is called 'other'; targets: class, again"):
        featx.fit(target="other")


def test_fitting_before_extracting_says_what_to_do(toy_home: Path) -> None:
    with pytest.raises(IncompleteError, match="run 'featx extract'"):
        featx.fit()


def test_an_unknown_head_is_refused_before_anything_is_read(home: Path) -> None:
    with pytest.raises(UnknownNameError, match="no head is called 'xgbost'; did you mean 'xgboost'"):
        featx.fit(heads=["xgbost"])


def test_two_fits_of_one_head_at_once_make_one_run(toy_home: Path) -> None:
    featx.extract()
    code = """
import featx
from featx.registry import BACKBONES
BACKBONES.register("toy")(None)
(run,) = featx.fit(heads="logreg", trials=8)
print(run.made, run.n_trials)
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in both)
    assert said == ["False 8", "True 8"]


TWO_EMBEDDINGS = (
    TOY_RECIPE.partition("[[head]]")[0]
    + """
[[embedding]]
backbone = "deep"
weights = "none"

[[head]]
name = "ridge"
trials = 6
folds = 3
"""
)


def test_which_embeddings_to_stand_on_is_part_of_the_search(toy_home: Path) -> None:
    Path("featx.toml").write_text(TWO_EMBEDDINGS + 'embeddings = "search"\n')
    featx.extract()
    (run,) = featx.fit()
    metrics = json.loads((Path(run.path) / "metrics.json").read_text())
    tried = {trial["embeddings"] for trial in metrics["trials"]}
    names = [one.request.name for one in Study.open(None).locked]
    assert len(tried) > 1
    assert tried <= {*names, " + ".join(names)}
    model = featx.load(run.path)
    assert " + ".join(one.request.name for one in model.embeddings) == run.embeddings
    assert len(featx.predict(["images/dark/000.png"])[run.run].images) == 1


def test_a_head_stands_on_the_embeddings_that_it_names_and_a_list_makes_a_run_each(toy_home: Path) -> None:
    Path("featx.toml").write_text(TWO_EMBEDDINGS + 'embeddings = ["deep", "all"]\n')
    featx.extract()
    runs = featx.fit()
    models = [featx.load(run.path) for run in runs]
    assert [[one.request.backbone for one in model.embeddings] for model in models] == [["deep"], ["toy", "deep"]]
    assert runs[0].run.startswith("ridge-deep-")
    (again,) = featx.fit(embedding="deep")
    assert (again.run, again.made) == (runs[0].run, False)


def test_a_head_that_names_an_embedding_that_there_is_not_is_refused(toy_home: Path) -> None:
    Path("featx.toml").write_text(TWO_EMBEDDINGS + 'embeddings = "dep"\n')
    with pytest.raises(
        RecipeError, match=r"head\[0\].embeddings: no embedding is called 'dep'; known: all, search, toy/last"
    ):
        featx.extract()


@pytest.mark.parametrize("name", HEADS.names())
def test_a_search_may_stand_on_few_features_or_on_many(name: str, tmp_path: Path) -> None:
    x, y = load_digits(n_class=2, return_X_y=True)
    facts = TargetValues("classes", ("0", "1"), y[:120])
    widths = {f"{d} features": TrainRows(x[:120, 20 : 20 + d].astype(np.float32), facts) for d in (5, 40)}
    arenas = {which: SearchSpace(head_for(name, rows), rows) for which, rows in widths.items()}
    found = search(arenas, HeadSpec(name=name, trials=6, folds=3), tmp_path / "journal", no_progress)
    assert len(found.trials) + found.n_pruned == 6
    assert found.score > 0.8


def test_the_one_standard_error_rule_takes_a_simpler_setting_that_is_as_good(toy_home: Path) -> None:
    featx.extract()
    both = {}
    for rule in ("best", "one_se"):
        spec = HeadSpec(name="logreg", trials=4, folds=3, rule=rule, embeddings="all")
        (both[rule],) = featx.fit(heads=[spec])
    best, simple = both["best"], both["one_se"]
    assert simple.cv_score <= best.cv_score
    assert simple.params["scaling"] == best.params["scaling"]
    assert simple.params["C"] <= best.params["C"]


def test_a_nested_search_is_scored_from_outside_and_a_warm_one_begins_where_the_last_ended(toy_home: Path) -> None:
    featx.extract()
    (cold,) = featx.fit(heads="svm", trials=3, nested=2)
    assert cold.nested_score is not None
    assert 0.5 < cold.nested_score <= 1
    (warm,) = featx.fit(heads=[HeadSpec(name="svm", trials=2, warm=True, folds=3)])
    trials = json.loads((Path(warm.path) / "metrics.json").read_text())["trials"]
    found = json.loads((Path(cold.path) / "metrics.json").read_text())["trials"]
    best = max(found, key=lambda trial: trial["score"])
    assert best["suggested"] in [trial["suggested"] for trial in trials]


KILLED = """
import sys, time
import featx
from featx.registry import BACKBONES
BACKBONES.register("toy")(None)
def progress(stage, done, total, note=""):
    if stage.startswith("tune") and done == int(sys.argv[1]):
        print("there", flush=True)
        time.sleep(60 if int(sys.argv[1]) else 0)
featx.fit(heads="svm", trials=8, progress=progress)
"""


def test_a_killed_search_ends_with_the_same_trials_as_an_undisturbed_one(toy_home: Path) -> None:
    featx.extract()
    (whole,) = featx.fit(heads="svm", trials=8)
    expected = json.loads((Path(whole.path) / "metrics.json").read_text())["trials"]
    shutil.rmtree(whole.path)
    for at in (2, 5):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(at)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
    (resumed,) = featx.fit(heads="svm", trials=8)
    found = json.loads((Path(resumed.path) / "metrics.json").read_text())["trials"]
    assert [(one["score"], one["params"]) for one in found] == [(one["score"], one["params"]) for one in expected]
    assert resumed.params == whole.params


def test_a_trial_that_is_surely_below_the_best_is_ended_and_one_that_may_catch_up_is_not(tmp_path: Path) -> None:
    folds = [0.90, 0.92, 0.88, 0.91, 0.89]  # sd .0158: two standard errors of two means of two are .0316
    with TrialJournal(tmp_path / "journal", HeadSpec(name="svm", trials=3), []) as trials:
        first, second = trials.next(), trials.next()
        assert first is not None
        assert second is not None
        assert not trials.is_behind(first, 0.1, 2)
        told = {"asked": [], "fold_scores": folds, "params": {}, "embeddings": "", "path": {}}
        trials.finish(first, 0.9, told)
        assert trials.is_behind(second, 0.91 - 0.032, 2)
        assert not trials.is_behind(second, 0.91 - 0.031, 2)
