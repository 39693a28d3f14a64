"""Votes over runs: who takes part, on which rows is learnt, and what stands in the run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.ensembles.combiners import MemberOutputs, VotingMethod
from featx.ensembles.cross_fitting import CrossFitting, cross_fitted
from featx.ensembles.fixed_rules import Mean, majority
from featx.ensembles.member_weights import weighted
from featx.errors import AlignmentError, ArtifactError, DataError, IncompleteError, UnsuitedError
from featx.files.atomic import read_json, sha256_of, write_json
from featx.files.seals import sealed, write_sealed
from featx.metrics.scores import score
from featx.predictors.description import describe
from featx.predictors.models import EnsembleModel
from featx.registry import VOTES
from featx.specs.ensembling import EnsembleSpec
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.target_values import TargetValues
from featx.tables.truth import Truth
from tests.ballots import members_of
from tests.conftest import TOY_RECIPE, make_images

SPEC = EnsembleSpec(folds=4)


@pytest.fixture
def fits(toy_home: Path) -> list[RunFolder]:
    """Three heads of a toy study."""
    featx.extract()
    return [RunFolder(Path(run.path)) for run in featx.fit(heads=["logreg", "rf", "svm"], trials=1)]


def test_a_vote_that_learns_nothing_is_held_on_all_rows_at_once() -> None:
    members, known = members_of("classes", n=40)
    at_once = CrossFitting.of(members, known, SPEC).learnt(majority).combine(members)
    np.testing.assert_array_equal(cross_fitted(majority, members, known, SPEC).proba, at_once.proba)


def test_each_fold_has_its_share_of_each_class() -> None:
    members, known = members_of("classes", n=90)
    fold = CrossFitting.of(members, known, SPEC)._folds()
    assert isinstance(known, Truth)
    assert np.ptp([np.bincount(known.codes[fold == number], minlength=3) for number in range(4)], axis=0).max() <= 1


def test_groups_stay_whole_in_the_folds_in_whatever_order_the_rows_come() -> None:
    members, known = members_of("classes", n=60)
    groups = np.arange(60) // 6
    fold = CrossFitting.of(members, known, SPEC, groups)._folds()
    assert all(len(set(fold[groups == group])) == 1 for group in range(10))
    order = np.random.default_rng(0).permutation(60)
    moved = [member.take(member.ids[order]) for member in members]
    np.testing.assert_array_equal(CrossFitting.of(moved, known, SPEC, groups[order])._folds(), fold)


def test_too_few_rows_to_learn_from_are_said() -> None:
    members, known = members_of("classes", n=3)
    with pytest.raises(DataError, match="3 val rows are too few to weigh members in 4 folds"):
        cross_fitted(weighted, members, known, SPEC)
    with pytest.raises(DataError, match="2 groups or sets of copies among val rows are too few"):
        cross_fitted(weighted, members, known, SPEC, np.array(["a", "a", "b"]))


def test_rows_that_all_weigh_nothing_choose_nothing() -> None:
    members, known = members_of("classes", n=30)
    assert isinstance(known, Truth)
    with pytest.raises(DataError, match="all 30 rows that choose weigh 0; check 'weight' and 'confidence'"):
        CrossFitting.of(members, Truth(known.ids, known.codes, known.classes, np.zeros(30)), SPEC)


def test_weights_are_val_scores_and_the_test_rows_are_voted_on_with_them(fits: list[RunFolder]) -> None:
    (voted,) = featx.ensemble(methods=["weighted"])
    study = Study.open(None)
    by_name = {run.name: run for run in study.runs()}
    tables = {name: run.predictions for name, run in by_name.items()}
    scores = np.array([score("accuracy", study.truth("class"), tables[name].of("val")) for name in voted.members])
    np.testing.assert_allclose(voted.weights, scores / scores.sum())
    expected = Mean(weights=tuple(voted.weights)).combine([tables[name].of("test") for name in voted.members])
    found = tables[voted.run].of("test").take(expected.ids)
    np.testing.assert_allclose(found.proba, expected.proba)
    assert (voted.metric, voted.scored_on, voted.n) == ("accuracy", "val", 11)
    assert voted.score == score("accuracy", study.truth("class"), tables[voted.run].of("val"))
    assert voted.best_member_score == max(scores)
    assert voted.median_member_score == np.median(scores)
    assert voted.gain == voted.score - max(scores)


def test_without_methods_four_votes_are_held_the_best_first(fits: list[RunFolder]) -> None:
    runs = featx.ensemble()
    assert {run.method for run in runs} == {"majority", "soft", "weighted", "greedy"}
    assert [run.gain for run in runs] == sorted((run.gain for run in runs), reverse=True)
    for run in runs:
        metrics = RunFolder(Path(run.path)).metrics
        assert metrics["why"] == run.why
        assert len(metrics["diversity"]["pairs"]) == 3
        assert set(metrics["contributions"]) == {one.name for one in fits}
        assert metrics["overruling"]["member"] == run.best_member
        assert json.loads((Path(run.path) / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_members_can_be_named_and_ensembles_are_members_only_then(fits: list[RunFolder]) -> None:
    (first,) = featx.ensemble(methods=["soft"])
    (again,) = featx.ensemble(methods=["soft"])
    (fewer,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    assert len(first.members) == 3
    assert (first.made, again.made, first.run) == (True, False, again.run)
    assert [name.split("-")[0] for name in fewer.members] == ["logreg", "svm"]
    (over,) = featx.ensemble(methods=["stacking"], members=[fewer.run, "rf"])
    assert sorted(over.members) == sorted([fewer.run, next(one.name for one in fits if one.name.startswith("rf"))])


def test_an_ensemble_of_ensembles_answers_as_when_it_was_made_and_says_what_it_costs(fits: list[RunFolder]) -> None:
    (inner,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    (outer,) = featx.ensemble(methods=["stacking"], members=["soft", "rf"])
    model = featx.load(outer.path)
    assert isinstance(model, EnsembleModel)
    then = RunFolder(Path(outer.path)).predictions.of("test")
    found = model.predict_images([Path("images") / name for name in then.ids], device="cpu")
    np.testing.assert_allclose(found.proba, then.proba, atol=1e-6)
    said = describe(outer.path)
    assert (said["method"], sorted(said["members"])) == ("stacking", sorted(outer.members))
    folders = [Path(inner.path), Path(outer.path), *(one.path for one in fits)]
    sizes = [(folder / name).stat().st_size for folder in folders for name in ("header.json", read_body(folder))]
    assert said["cost"] == {"n_models": 3, "n_embeddings": 1, "n_networks": 1, "size_bytes": sum(sizes)}


def read_body(folder: Path) -> str:
    return {"head": "model.joblib", "ensemble": "ensemble.json"}[read_json(folder / "header.json")["kind"]]


def test_members_that_weigh_nothing_are_not_loaded(fits: list[RunFolder]) -> None:
    (voted,) = featx.ensemble(methods=["greedy"])
    body = read_json(Path(voted.path) / "ensemble.json")
    assert voted.n_candidates == 3 > len(body["members"]) == len(body["weights"])
    assert 0 not in body["weights"]
    model = featx.load(voted.path)
    assert isinstance(model, EnsembleModel)
    assert [member.name for member in model.members] == voted.members


def test_an_ensemble_whose_members_members_changed_is_left_out(fits: list[RunFolder]) -> None:
    (inner,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    (outer,) = featx.ensemble(methods=["soft"], members=[inner.run, "rf"])
    assert outer.run in {run.name for run in Study.open(None).runs()}
    shutil.rmtree(next(Path("runs/featx").glob("svm-*")))
    assert not {inner.run, outer.run} & {run.name for run in Study.open(None).runs()}


def test_an_ensemble_that_contains_itself_is_refused(fits: list[RunFolder]) -> None:
    (voted,) = featx.ensemble(methods=["soft"])
    folder = Path(voted.path)
    sha256 = RunFolder(folder).body_sha256
    spec = read_json(folder / "spec.json")
    write_sealed(folder / "spec.json", spec | {"members": {**spec["members"], voted.run: sha256}})
    with pytest.raises(DataError, match=f"ensemble {voted.run} contains itself; remove its folder"):
        featx.ensemble(methods=["greedy"])
    body = read_json(folder / "ensemble.json")
    write_json(folder / "ensemble.json", body | {"members": {**body["members"], voted.run: sha256}})
    header = read_json(folder / "header.json")
    write_json(folder / "header.json", sealed(header | {"body_sha256": sha256_of(folder / "ensemble.json")}))
    with pytest.raises(ArtifactError, match="contains itself as a member; run 'featx ensemble' again"):
        featx.load(folder)


def test_an_older_ensemble_is_read(fits: list[RunFolder]) -> None:
    """Written before votes could learn, with weights for a majority too."""
    for method in ("majority", "soft", "weighted"):
        (voted,) = featx.ensemble(methods=[method])
        then = featx.load(voted.path).predict_proba(np.eye(8, dtype=np.float32))
        body = read_json(Path(voted.path) / "ensemble.json")
        older = {"method": method, "members": body["members"], "weights": body["weights"]}
        assert older == body
        write_json(Path(voted.path) / "ensemble.json", older)
        header = read_json(Path(voted.path) / "header.json")
        body_sha256 = sha256_of(Path(voted.path) / "ensemble.json")
        changed = header | {"format": 1, "body_sha256": body_sha256, "seal": None}
        write_json(Path(voted.path) / "header.json", changed)
        np.testing.assert_array_equal(featx.load(voted.path).predict_proba(np.eye(8, dtype=np.float32)), then)
        shutil.rmtree(voted.path)


def test_a_vote_answers_like_its_combiner_over_loaded_members(fits: list[RunFolder]) -> None:
    (voted,) = featx.ensemble(methods=["weighted"])
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    each = [featx.load(Path("runs/featx") / name).predict_proba(x) for name in voted.members]
    np.testing.assert_allclose(
        featx.load(voted.path).predict_proba(x), np.average(each, axis=0, weights=voted.weights), rtol=1e-6
    )


def test_a_few_val_rows_are_said_to_tell_nothing_apart(fits: list[RunFolder]) -> None:
    (voted,) = featx.ensemble(methods=["soft"])
    (found,) = voted.findings
    assert found.startswith("11 val rows cannot tell these runs apart")
    assert "few rows" in next(row.marks for row in featx.evaluate()[0].rows if row.run == voted.run)


def rewrite(run: RunFolder, frame: pd.DataFrame) -> None:
    """Give a run other predictions, as if it had been made with them."""
    file = run.path / "predictions.parquet"
    frame.to_parquet(file, index=False)
    header = read_json(run.path / "header.json")
    files = header["files_sha256"] | {file.name: sha256_of(file)}
    write_sealed(run.path / "header.json", header | {"files_sha256": files})


def test_probabilities_that_are_not_numbers_name_their_run(fits: list[RunFolder]) -> None:
    frame = fits[0].predictions.to_frame()
    frame.loc[0, "proba.dark"] = np.nan
    rewrite(fits[0], frame)
    with pytest.raises(IncompleteError, match=f"{fits[0].name} is damaged .*: 1 of 48 rows of probabilities are not"):
        featx.ensemble()
    others = [run.name for run in fits[1:]]
    assert featx.ensemble(members=others)[0].n_candidates == len(others)


def test_a_member_without_val_rows_and_one_with_fewer_are_named(fits: list[RunFolder]) -> None:
    whole = fits[1].predictions.to_frame()
    rewrite(fits[1], whole[whole["part"] != "val"])
    with pytest.raises(DataError, match=f"{fits[1].name} has no val rows, as other members have; make it again"):
        featx.ensemble()
    val = whole.index[whole["part"] == "val"]
    rewrite(fits[1], whole.drop(val[3]))
    lost = str(whole.loc[val[3], "id"])
    with pytest.raises(AlignmentError, match=f"1 have one answer only, first '{lost}'; make the runs again"):
        featx.ensemble()


TWO_TARGETS = """
[data]
source = "images"
labels = { file = "labels.csv" }
[targets.class]
column = "class"
[targets.age]
column = "age"
kind = "numbers"
[split]
test = 0.2
val = 0.25
[[embedding]]
backbone = "toy"
weights = "none"
[[head]]
name = "rf"
trials = 1
folds = 2
[[head]]
name = "ridge"
trials = 1
folds = 2
"""


@pytest.fixture
def two_targets(home: Path) -> Path:
    """A study with classes and numbers."""
    ids = make_images(home / "images", n_each=40)
    light = np.array([name.startswith("light") for name in ids])
    age = np.where(light, 60, 20) + np.random.default_rng(0).normal(0, 3, len(ids))
    table = pd.DataFrame({"path": ids, "class": np.where(light, "light", "dark"), "age": age})
    table.to_csv("images/labels.csv", index=False)
    Path("featx.toml").write_text(TWO_TARGETS)
    featx.extract()
    featx.fit()
    return home


def test_each_target_gets_the_votes_that_can_answer_it(two_targets: Path) -> None:
    found = {(run.target, run.method): run for run in featx.ensemble()}
    assert {method for target, method in found if target == "age"} == {"soft", "weighted", "greedy"}
    assert {method for target, method in found if target == "class"} == {"majority", "soft", "weighted", "greedy"}
    (median,) = featx.ensemble(methods=["median"])
    assert (median.target, median.metric) == ("age", "mae")
    assert 0 < median.score < 5
    assert median.gain == median.best_member_score - median.score
    with pytest.raises(
        UnsuitedError, match="vote 'majority' answers classes or labels, target 'age' is of numbers; those"
    ):
        featx.ensemble(methods=["majority"], target="age")
    with pytest.raises(
        UnsuitedError, match="'median' answers numbers, target 'class' is of classes; those that can: conf"
    ):
        featx.ensemble(methods=["median"], target="class")
    said = featx.load(median.path).predict_images(["images/light/000.png"])
    assert said.kind == "numbers"
    assert 40 < said.proba[0, 0] < 80
    assert said.intervals(0.8).shape == (1, 1, 2)


def test_members_of_one_target_are_voted_on_for_that_one(two_targets: Path) -> None:
    names = [run.name for run in Study.open(None).runs("age")]
    (soft,) = featx.ensemble(methods=["soft"], members=names)
    assert (soft.target, sorted(soft.members)) == ("age", sorted(names))
    with pytest.raises(DataError, match="no finished run is called 'mlp'"):
        featx.ensemble(members=["mlp"])


def test_the_metric_of_the_recipe_chooses_where_it_is_one_of_the_target(two_targets: Path) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(TWO_TARGETS + '[ensemble]\nmetric = "rmse"\n')
    found = {run.target: run.metric for run in featx.ensemble(methods=["greedy"])}
    assert found == {"class": "accuracy", "age": "rmse"}
    assert {one.target: one.chosen_by for one in featx.evaluate()} == {"class": "accuracy on val", "age": "rmse on val"}
    recipe.write_text(TWO_TARGETS + '[ensemble]\nmetric = "average_precision"\n')
    with pytest.raises(DataError, match="metric 'average_precision' is none of classes"):
        featx.ensemble()


def test_a_run_of_another_target_split_or_labelling_is_refused_by_name(two_targets: Path) -> None:
    of_age = next(run.name for run in Study.open(None).runs("age"))
    with pytest.raises(
        DataError, match=f"{of_age} answers target 'age', expected 'class'; runs on this split: rf-class"
    ):
        featx.ensemble(members=[of_age, "rf-class"], target="class")
    table = pd.read_csv("images/labels.csv")
    old = next(run.name for run in Study.open(None).runs("class") if run.name.startswith("rf"))
    train = Study.open(None).ids("train")
    table.loc[table["path"].eq(train[0]), "class"] = "light"
    table.loc[table["path"].eq(train[1]), "class"] = "light"
    table.to_csv("images/labels.csv", index=False)
    featx.extract()
    with pytest.raises(DataError, match=f"{old} learnt from other labels or weights; runs on this split: "):
        featx.ensemble(members=[old], target="class")
    Path("featx.toml").write_text(TWO_TARGETS.replace("val = 0.25", "val = 0.25\nseed = 5"))
    featx.extract()
    expected = f"{of_age} was made on other images or another split; runs on this split: none"
    with pytest.raises(DataError, match=expected):
        featx.ensemble(members=[of_age], target="age")


def test_a_class_that_no_val_row_has_is_said_and_stacking_refuses_it(home: Path) -> None:
    ids = make_images(home / "images", ("a", "b", "c"), n_each=20)
    parts = np.resize(["train", "train", "val", "test"], len(ids))
    parts[[at for at, name in enumerate(ids) if name.startswith("c")]] = np.resize(["train", "test"], 20)
    pd.DataFrame({"path": ids, "y": [name[0] for name in ids], "part": parts}).to_csv("images/labels.csv", index=False)
    recipe = TOY_RECIPE.replace('source = "images"', 'source = "images"\nlabels = { file = "labels.csv" }')
    recipe = recipe.replace('[targets.class]\ncolumn = "class"', '[targets.y]\ncolumn = "y"')
    Path("featx.toml").write_text(recipe.replace("test = 0.25\nval = 0.25", 'column = "part"'))
    featx.extract()
    featx.fit()
    runs = featx.ensemble()
    assert all(
        "no val row has 'c': nothing is known of how runs do there; stratify the split" in run.findings for run in runs
    )
    with pytest.raises(
        DataError, match="stacking cannot learn class 'c': none of the 10 rows that teach has it; give val"
    ):
        featx.ensemble(methods=["stacking"])


def test_others_votes_are_held_like_ours(fits: list[RunFolder]) -> None:
    def learn(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Mean:
        return Mean(weights=(1.0, *[0.0] * (len(ballots) - 1)))

    VOTES.register("first")(VotingMethod(learn, Mean, ("classes",), learns=False))
    try:
        (voted,) = featx.ensemble(methods=["first"])
        np.testing.assert_array_equal(
            RunFolder(Path(voted.path)).predictions.of("test").proba,
            next(run for run in fits if run.name == voted.members[0]).predictions.of("test").proba,
        )
        assert voted.gain <= 0
    finally:
        del VOTES._added["first"]
