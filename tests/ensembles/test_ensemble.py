"""Ensembles of runs: which runs are members, which rows methods are fitted to, and what a run folder holds.

Modules: ensembles.cross_fitting, ensembles.ensemble_run, ensembles.members.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.ensembles.combiners import EnsembleMethod, MemberOutputs
from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.fixed_rules import Mean, majority
from featx.ensembles.greedy import greedy
from featx.ensembles.member_weights import weighted
from featx.errors import AlignmentError, ArtifactError, DataError, IncompleteError
from featx.files.atomic import file_sha256, read_json, write_json
from featx.files.seals import add_seal, write_sealed
from featx.metrics.scores import score
from featx.predictors.description import describe
from featx.predictors.models import EnsembleModel
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import EnsembleSpec
from featx.study.ensemble_metrics import EnsembleMetrics
from featx.study.run_folder import RunFolder
from featx.study.run_settings import describe_runs, replace_names
from featx.study.study import Study
from featx.tables.ids import Kind
from featx.tables.target_values import TargetValues
from featx.tables.truth import Truth
from tests.conftest import make_images
from tests.ensemble_members import cross_predictions, members_of
from tests.recipes import LABEL_TABLE, toy_recipe

SPEC = EnsembleSpec(folds=4)


@pytest.fixture
def fits(toy_home: Path) -> list[RunFolder]:
    """Three heads of a toy study."""
    featx.extract()
    return [RunFolder(Path(run.path)) for run in featx.fit(heads=["logreg", "rf", "svm"], trials=1)]


def test_a_method_with_a_fixed_rule_needs_no_folds() -> None:
    members, truth = members_of("classes", n=40)
    at_once = CrossFitting.of(members, truth, SPEC).fit(majority).combine(members)
    np.testing.assert_array_equal(cross_predictions(majority, members, truth, SPEC).proba, at_once.proba)


def test_each_fold_has_its_share_of_each_class() -> None:
    members, truth = members_of("classes", n=90)
    fold = CrossFitting.of(members, truth, SPEC).fold_numbers()
    assert isinstance(truth, Truth)
    assert np.ptp([np.bincount(truth.codes[fold == number], minlength=3) for number in range(4)], axis=0).max() <= 1


def test_folds_keep_groups_whole_for_any_order_of_rows() -> None:
    members, truth = members_of("classes", n=60)
    groups = np.arange(60) // 6
    fold = CrossFitting.of(members, truth, SPEC, groups).fold_numbers()
    assert all(len(set(fold[groups == group])) == 1 for group in range(10))
    order = np.random.default_rng(0).permutation(60)
    moved_members = [member.take(member.ids[order]) for member in members]
    np.testing.assert_array_equal(CrossFitting.of(moved_members, truth, SPEC, groups[order]).fold_numbers(), fold)


def test_too_few_rows_for_cross_fitting_are_refused() -> None:
    members, truth = members_of("classes", n=3)
    with pytest.raises(
        DataError, match="3 val rows are too few to cross-fit an ensemble in 4 folds; put more rows in val"
    ):
        cross_predictions(weighted, members, truth, SPEC)
    with pytest.raises(DataError, match="2 groups or sets of copies among val rows are too few"):
        cross_predictions(weighted, members, truth, SPEC, np.array(["a", "a", "b"]))


def test_selection_rows_that_all_weigh_0_are_refused() -> None:
    members, truth = members_of("classes", n=30)
    assert isinstance(truth, Truth)
    with pytest.raises(DataError, match="all 30 selection rows weigh 0; check 'weight' and 'confidence'"):
        CrossFitting.of(members, Truth(truth.ids, truth.codes, truth.classes, np.zeros(30)), SPEC)


def test_weights_are_val_scores_and_are_used_for_test_rows(fits: list[RunFolder]) -> None:
    (ensemble,) = featx.ensemble(methods=["weighted"])
    study = Study.open(None)
    by_name = {run.name: run for run in study.runs()}
    tables = {name: run.predictions for name, run in by_name.items()}
    scores = np.array([score("accuracy", study.truth("class"), tables[name].of("val")) for name in ensemble.members])
    np.testing.assert_allclose(ensemble.weights, scores / scores.sum())
    expected = Mean(weights=tuple(ensemble.weights)).combine([tables[name].of("test") for name in ensemble.members])
    actual = tables[ensemble.run].of("test").take(expected.ids)
    np.testing.assert_allclose(actual.proba, expected.proba)
    assert (ensemble.metric, ensemble.scored_on, ensemble.n) == ("accuracy", "val", 11)
    assert ensemble.score == score("accuracy", study.truth("class"), tables[ensemble.run].of("val"))
    assert ensemble.best_member_score == max(scores)
    assert ensemble.median_member_score == np.median(scores)
    assert ensemble.gain == ensemble.score - max(scores)


def test_by_default_four_methods_are_used_and_the_best_comes_first(fits: list[RunFolder]) -> None:
    runs = featx.ensemble()
    assert {run.method for run in runs} == {"majority", "soft", "weighted", "greedy"}
    assert [run.gain for run in runs] == sorted((run.gain for run in runs), reverse=True)
    for run in runs:
        metrics = RunFolder(Path(run.path)).metrics
        assert isinstance(metrics, EnsembleMetrics)
        labels = describe_runs({head.name: head.spec for head in fits})
        assert replace_names(metrics.explanation, labels) == run.explanation
        assert len(metrics.diversity.pairs) == 3
        assert set(metrics.contributions) == {head.name for head in fits}
        assert metrics.disagreements.member == run.best_member
        assert json.loads((Path(run.path) / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_ensembles_are_members_only_if_they_are_named(fits: list[RunFolder]) -> None:
    (first,) = featx.ensemble(methods=["soft"])
    (repeated_ensemble,) = featx.ensemble(methods=["soft"])
    (pair_ensemble,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    assert len(first.members) == 3
    assert (first.is_new, repeated_ensemble.is_new, first.run) == (True, False, repeated_ensemble.run)
    assert [name.split("-")[0] for name in pair_ensemble.members] == ["logreg", "svm"]
    (outer,) = featx.ensemble(methods=["stacking"], members=[pair_ensemble.run, "rf"])
    assert sorted(outer.members) == sorted(
        [pair_ensemble.run, next(head.name for head in fits if head.name.startswith("rf"))]
    )


def test_a_loaded_ensemble_of_ensembles_predicts_the_same_and_has_a_cost(fits: list[RunFolder]) -> None:
    (inner,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    (outer,) = featx.ensemble(methods=["stacking"], members=["soft", "rf"])
    model = featx.load(outer.path)
    assert isinstance(model, EnsembleModel)
    stored_prediction = RunFolder(Path(outer.path)).predictions.of("test")
    prediction = model.predict_images([Path("images") / name for name in stored_prediction.ids], device="cpu")
    np.testing.assert_allclose(prediction.proba, stored_prediction.proba, atol=1e-6)
    description = describe(outer.path)
    assert (description["method"], sorted(description["members"])) == ("stacking", sorted(outer.members))
    folders = [Path(inner.path), Path(outer.path), *(head.path for head in fits)]
    sizes = [(folder / name).stat().st_size for folder in folders for name in ("header.json", read_body(folder))]
    assert description["cost"] == {"n_models": 3, "n_embeddings": 1, "n_networks": 1, "size_bytes": sum(sizes)}


def read_body(folder: Path) -> str:
    return {"head": "model.joblib", "ensemble": "ensemble.json"}[read_json(folder / "header.json")["kind"]]


def test_members_of_weight_0_are_not_loaded(fits: list[RunFolder]) -> None:
    (ensemble,) = featx.ensemble(methods=["greedy"])
    body = read_json(Path(ensemble.path) / "ensemble.json")
    assert ensemble.n_candidates == 3 > len(body["members"]) == len(body["weights"])
    assert 0 not in body["weights"]
    model = featx.load(ensemble.path)
    assert isinstance(model, EnsembleModel)
    assert [member.name for member in model.members] == ensemble.members


def test_an_ensemble_with_a_member_of_changed_members_is_left_out(fits: list[RunFolder]) -> None:
    (inner,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    (outer,) = featx.ensemble(methods=["soft"], members=[inner.run, "rf"])
    assert outer.run in {run.name for run in Study.open(None).runs()}
    shutil.rmtree(next(Path("runs/featx").glob("svm-*")))
    assert not {inner.run, outer.run} & {run.name for run in Study.open(None).runs()}


def test_an_ensemble_that_contains_itself_is_refused(fits: list[RunFolder]) -> None:
    (ensemble,) = featx.ensemble(methods=["soft"])
    folder = Path(ensemble.path)
    sha256 = RunFolder(folder).body_sha256
    spec = read_json(folder / "spec.json")
    write_sealed(folder / "spec.json", spec | {"members": {**spec["members"], ensemble.run: sha256}})
    with pytest.raises(DataError, match=f"ensemble {ensemble.run} contains itself; remove its folder"):
        featx.ensemble(methods=["greedy"])
    body = read_json(folder / "ensemble.json")
    write_json(folder / "ensemble.json", body | {"members": {**body["members"], ensemble.run: sha256}})
    header = read_json(folder / "header.json")
    write_json(folder / "header.json", add_seal(header | {"body_sha256": file_sha256(folder / "ensemble.json")}))
    with pytest.raises(ArtifactError, match="contains itself as a member; run 'featx ensemble' again"):
        featx.load(folder)


def test_a_loaded_ensemble_predicts_what_its_loaded_members_give(fits: list[RunFolder]) -> None:
    (ensemble,) = featx.ensemble(methods=["weighted"])
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    proba = [featx.load(Path("runs/featx") / name).predict_proba(x) for name in ensemble.members]
    np.testing.assert_allclose(
        featx.load(ensemble.path).predict_proba(x), np.average(proba, axis=0, weights=ensemble.weights), rtol=1e-6
    )


def test_few_val_rows_give_a_warning(fits: list[RunFolder]) -> None:
    (ensemble,) = featx.ensemble(methods=["soft"])
    (warning,) = ensemble.warnings
    assert warning.startswith("11 val rows are too few to compare these runs")
    assert "few rows" in next(row.flags for row in featx.evaluate()[0].rows if row.run == ensemble.run)


def replace_predictions(run: RunFolder, frame: pd.DataFrame) -> None:
    """Replace a run's predictions, and the digest of their file."""
    file = run.path / "predictions.parquet"
    frame.to_parquet(file, index=False)
    header = read_json(run.path / "header.json")
    files = header["files_sha256"] | {file.name: file_sha256(file)}
    write_sealed(run.path / "header.json", header | {"files_sha256": files})


def test_a_run_with_invalid_probabilities_is_named(fits: list[RunFolder]) -> None:
    frame = fits[0].predictions.to_frame()
    frame.loc[0, "proba.dark"] = np.nan
    replace_predictions(fits[0], frame)
    with pytest.raises(IncompleteError, match=f"{fits[0].name} is damaged .*: 1 of 48 rows of probabilities are not"):
        featx.ensemble()
    intact = [run.name for run in fits[1:]]
    assert featx.ensemble(members=intact)[0].n_candidates == len(intact)


def test_members_without_val_rows_or_with_fewer_are_named(fits: list[RunFolder]) -> None:
    predictions = fits[1].predictions.to_frame()
    replace_predictions(fits[1], predictions[predictions["part"] != "val"])
    with pytest.raises(
        DataError, match=f"{fits[1].name} has no predictions for val rows, as other members have; make it again with"
    ):
        featx.ensemble()
    val = predictions.index[predictions["part"] == "val"]
    replace_predictions(fits[1], predictions.drop(val[3]))
    missing_id = str(predictions.loc[val[3], "id"])
    with pytest.raises(AlignmentError, match=f"1 rows have only one, first '{missing_id}'; make both again"):
        featx.ensemble()


def test_a_class_without_val_rows_gives_a_warning_and_stacking_fails(home: Path) -> None:
    ids = make_images(home / "images", ("a", "b", "c"), n_each=20)
    parts = np.resize(["train", "train", "val", "test"], len(ids))
    parts[[name.startswith("c") for name in ids]] = np.resize(["train", "test"], 20)
    pd.DataFrame({"path": ids, "y": [name[0] for name in ids], "part": parts}).to_csv("images/labels.csv", index=False)
    recipe = toy_recipe(data=LABEL_TABLE, targets={"y": {"column": "y"}}, split={"column": "part"})
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit()
    runs = featx.ensemble()
    assert all(
        "no val row has 'c': how runs perform there is unknown; stratify the split" in run.warnings for run in runs
    )
    with pytest.raises(
        DataError, match="stacking cannot learn class 'c': none of the 10 training rows have it; put more"
    ):
        featx.ensemble(methods=["stacking"])
    # A run of the recipe goes on with the other methods.
    Path("featx.toml").write_text(f"{recipe}\n[[ensemble]]\nmethods = ['soft', 'stacking']\n")
    notes: list[str] = []
    stages = dict(featx.run("featx.toml", progress=lambda stage, done, total, note="": notes.append(note)))
    assert [run.method for run in stages["ensemble"]] == ["soft"]
    assert {"evaluate", "report"} <= set(stages)
    assert [note for note in notes if note.startswith("no ensemble by 'stacking': stacking cannot learn class 'c'")]
    Path("featx.toml").write_text(f"{recipe}\n[[ensemble]]\nmethods = ['stacking']\n")
    with pytest.raises(DataError, match="stacking cannot learn class 'c'"):
        list(featx.run("featx.toml"))


def test_registered_methods_are_used_like_built_in_ones(fits: list[RunFolder]) -> None:
    def fit(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Mean:
        return Mean(weights=(1.0, *[0.0] * (len(members) - 1)))

    ENSEMBLE_METHODS.register("first")(EnsembleMethod(fit, Mean, ("classes",), is_trained=False))
    try:
        (ensemble,) = featx.ensemble(methods=["first"])
        np.testing.assert_array_equal(
            RunFolder(Path(ensemble.path)).predictions.of("test").proba,
            next(run for run in fits if run.name == ensemble.members[0]).predictions.of("test").proba,
        )
        assert ensemble.gain <= 0
    finally:
        del ENSEMBLE_METHODS._added["first"]


def test_a_collapsed_run_votes_only_if_it_is_named(fits: list[RunFolder]) -> None:
    collapsed, *other_runs = fits
    frame = collapsed.predictions.to_frame()
    probabilities = [name for name in frame.columns if name.startswith("proba.")]
    frame[probabilities] = 0.0
    frame[probabilities[0]] = 1.0
    replace_predictions(collapsed, frame)
    (soft,) = featx.ensemble(methods=["soft"])
    assert set(soft.members) == {run.name for run in other_runs}
    expected = f"{collapsed.name} predicts one class for all rows and does not vote; name it in 'members' to count it"
    assert expected in soft.warnings
    (explicit_vote,) = featx.ensemble(methods=["soft"], members=[run.name for run in fits])
    assert set(explicit_vote.members) == {run.name for run in fits}
    shutil.rmtree(other_runs[0].path)
    (pair,) = featx.ensemble(methods=["soft"])
    assert set(pair.members) == {collapsed.name, other_runs[1].name}, "an ensemble needs two members"


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_members_that_greedy_selection_never_picks_contribute_nothing(kind: Kind) -> None:
    members, truth = members_of(kind, n=90, skills=(-1, -1, 0.3, 0.5, 1, 1.5))
    fitting = CrossFitting.of(members, truth, SPEC)
    outputs = fitting.cross_predict(greedy)
    every_one = fitting.contributions(replace(greedy, find_used=None), outputs)
    assert fitting.contributions(greedy, outputs) == every_one
    assert any(every_one)
    assert greedy.find_used is not None
    assert len(greedy.find_used(fitting.members, fitting.targets, fitting.spec)) < len(members)
