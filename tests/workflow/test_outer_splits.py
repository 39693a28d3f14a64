"""Outer splits: every choice is made inside the training part of each, and the summary pairs the runs by split.

Modules: workflow.resplit_study, evaluation.split_summary, reports.split_page, cli.split_table.
"""

import math
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.cli.split_table import print_split_summary, split_text
from featx.errors import DataError, IncompleteError
from featx.evaluation.split_summary import SplitScores, summarize_splits
from featx.specs.recipe import load_recipe
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.workflow.outer_splits import SplitResult, SummaryOfSplits
from featx.workflow.run import stages
from tests.recipes import toy_heads, toy_recipe

SPLIT = {"test": 0.2, "val": 0, "method": "train_test_split", "stratify": False, "duplicates": "independent"}
RECIPE = toy_recipe(
    split=SPLIT | {"repeats": 3, "seed": 4}, head=toy_heads("logreg", "knn"), ensemble=[{"methods": ["soft"]}]
)


def run_splits(text: str, *, final: bool = True) -> tuple[list[SplitResult], SummaryOfSplits]:
    """Write a recipe, run it, and return the results of its outer splits and their summary."""
    Path("featx.toml").write_text(text)
    results = list(stages(final=final))
    assert [name for name, _ in results] == ["extract", *["split"] * (len(results) - 2), "splits"]
    return [result for name, result in results if name == "split"], results[-1][1]


def test_ids_are_those_of_scikit_learn_and_finished_splits_are_kept(
    toy_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits, summary = run_splits(RECIPE)
    assert [split.seed for split in splits] == summary.seeds == [4, 5, 6]
    ids = Study.open(None).manifest.ids
    for number, split in enumerate(splits):
        split_study = Study.open(f"featx.toml#repeat-{number:02}")
        assert str(split_study.folder) == split.folder == f"runs/featx/repeat-{number:02}"
        train, test = train_test_split(ids, test_size=0.2, random_state=4 + number)
        assert (sorted(split_study.ids("train")), sorted(split_study.ids("test"))) == (sorted(train), sorted(test))
        (scores,) = split.targets
        (evaluation,) = featx.evaluate(split_study.recipe)
        assert evaluation.part == "oof"
        assert scores.chosen == evaluation.label(evaluation.chosen)
        assert (scores.part, scores.n_train, scores.n_scored) == ("test", len(train), len(test))
        assert len(split_study.openings()) == 1
    (target,) = summary.targets
    chosen_row, *run_rows = target.rows
    assert chosen_row.scores["accuracy"] == [split.targets[0].chosen_score for split in splits]
    assert sum(run.n_chosen for run in run_rows) == chosen_row.n_chosen == 3
    page = Path(summary.page).read_text()
    assert f"{chosen_row.means['accuracy']:.4f} ± {chosen_row.sds['accuracy']:.4f}" in page
    print_split_summary(summary)
    printed = capsys.readouterr().out
    assert "class: 3 outer splits, test rows" in printed
    assert summary.page in printed
    repeated_splits, repeated_summary = run_splits(RECIPE)
    assert [split.is_new for split in repeated_splits] == [False] * 3
    assert "1/3 " in split_text(repeated_splits[0])
    assert "already done" in split_text(repeated_splits[0])
    assert repeated_summary.targets == summary.targets
    Path("runs/featx/repeat-01/split-scores.json").unlink()
    assert [split.is_new for split in run_splits(RECIPE)[0]] == [False, True, False]


def test_the_next_step_for_a_damaged_run_of_a_split_works_as_printed(toy_home: Path) -> None:
    run_splits(toy_recipe(split=SPLIT | {"repeats": 2}, head=toy_heads("logreg")), final=False)
    Path("runs/featx/repeat-01/split-scores.json").unlink()
    (run,) = Path("runs/featx/repeat-01").glob("logreg-*")
    (run / "predictions.parquet").write_bytes(b"cut short")
    with pytest.raises(IncompleteError, match=f"run {run.name} is damaged .*predictions.parquet") as error_info:
        list(stages())
    _, command, end = str(error_info.value).split("'")
    assert (command, end) == (f"featx runs rm {run}", "")
    recipe = Path("featx.toml").rename("elsewhere.toml")
    assert CliRunner().invoke(app, shlex.split(command)[1:], input="y").exit_code == 0
    assert not run.exists()
    assert [split.is_new for split in run_splits(recipe.read_text(), final=False)[0]] == [False, True]
    assert not RunFolder(run).damage


def test_without_final_the_test_parts_stay_sealed_and_models_may_go(toy_home: Path) -> None:
    split = SPLIT | {"seeds": [1, 7], "keep_runs": False}
    splits, summary = run_splits(toy_recipe(split=split, head=toy_heads("logreg")), final=False)
    assert [result.targets[0].part for result in splits] == ["oof", "oof"]
    assert summary.targets[0].part == "oof"
    split_study = Study.open("featx.toml#repeat-01")
    assert split_study.openings() == []
    assert split_study.run_folders() == []


def test_sections_that_have_no_effect_on_outer_splits_are_named(toy_home: Path) -> None:
    sections = {"attack": [{"methods": ["fgsm"]}], "corruption": {"severities": [1]}}
    text = toy_recipe(split=SPLIT | {"repeats": 2}, head=toy_heads("logreg"), ensemble=[], **sections)
    Path("featx.toml").write_text(text)
    notes = []
    list(stages(progress=lambda stage, _n, _total, /, note="": notes.append(note) if stage == "note" else None))
    (note,) = [note for note in notes if "no effect" in note]
    assert note == (
        "[attack], [corruption] have no effect: with several outer splits, heads, networks and ensembles alone are "
        "made; run 'featx attack -r featx.toml#repeat-00', 'featx corrupt -r featx.toml#repeat-00' for one split"
    )


def test_runs_are_made_again_where_they_are_to_be_kept_later(toy_home: Path) -> None:
    split = SPLIT | {"repeats": 2}
    dropping = toy_recipe(split=split | {"keep_runs": False}, head=toy_heads("logreg"))
    first_splits, _ = run_splits(dropping, final=False)
    assert [result.is_new for result in run_splits(dropping, final=False)[0]] == [False, False]
    kept_splits, _ = run_splits(toy_recipe(split=split, head=toy_heads("logreg")), final=False)
    assert [result.is_new for result in kept_splits] == [True, True]
    assert [result.targets[0].scores for result in kept_splits] == [result.targets[0].scores for result in first_splits]
    assert all(Study.open(f"featx.toml#repeat-0{number}").runs() for number in (0, 1))
    notes: list[str] = []
    Path("featx.toml").write_text(dropping)
    list(stages(progress=lambda stage, _done, _total, note="": notes.append(note) if stage == "note" else None))
    assert notes == [
        "2 of the outer splits still have runs of an earlier keep_runs = true; remove them with "
        "'featx runs rm RUN… -r featx.toml#repeat-00', or set 'keep_runs = true'"
    ]


def test_names_of_outer_splits_and_presets(toy_home: Path) -> None:
    Path("featx.toml").write_text(RECIPE + "\n[presets.few]\nsample = 20\n")
    recipe = load_recipe("featx.toml#few/repeat-02")
    assert (recipe.name, recipe.data.sample, recipe.split.seed) == ("featx-few/repeat-02", 20, 6)
    assert recipe.split.outer_seeds == ()
    with pytest.raises(DataError, match=r"no preset or outer split 'repeat-03'; expected .* repeat-00 … repeat-02"):
        load_recipe("featx.toml#repeat-03")
    with pytest.raises(DataError, match="'--repeats'"):
        list(stages(repeats=2))
    balanced = toy_recipe(
        split=SPLIT | {"repeats": 2}, targets={"class": {"column": "class", "balance": "undersample"}}
    )
    Path("featx.toml").write_text(balanced)
    with pytest.raises(featx.errors.RecipeError, match="balance leaves out images by the parts and the seed"):
        load_recipe("featx.toml")


def test_images_are_kept_by_the_values_of_a_label_column(toy_home: Path) -> None:
    table = pd.DataFrame({"path": sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))})
    table["class"] = table["path"].str.split("/").str[0]
    table["site"] = np.where(np.arange(len(table)) % 3 == 0, "a", "b")
    table.to_csv("images/labels.csv", index=False)
    data = {"source": "images", "labels": {"file": "labels.csv"}, "keep": {"site": ["a"]}}
    Path("featx.toml").write_text(toy_recipe(data=data) + '\n[presets.other.keep]\nsite = ["b"]\n')
    extraction = featx.extract()
    n_kept = int((table["site"] == "a").sum())
    assert sum(extraction.parts.values()) == n_kept
    assert extraction.ignored["is 'b', data.keep.site leaves it out"] == len(table) - n_kept
    assert sum(featx.extract("featx.toml#other").parts.values()) == len(table) - n_kept
    Path("featx.toml").write_text(toy_recipe(data=data | {"keep": {"site": ["c"]}}))
    with pytest.raises(IncompleteError, match="changed after the last extraction"):
        _ = Study.open(None).manifest
    assert "data.keep.site: column 'site' holds no 'c'" in featx.extract().label_problem


def scores_of(values: dict[str, float], chosen_run: str) -> SplitScores:
    return SplitScores(
        target="class",
        part="test",
        metric="confidence_accuracy",
        chosen=chosen_run,
        chosen_by="accuracy on oof",
        n_train=75,
        n_scored=25,
        fit_s=1.5,
        scores={run: {"confidence_accuracy": value, "n": 25.0} for run, value in values.items()},
    )


def test_summary_equals_its_textbook_formulas() -> None:
    rng = np.random.default_rng(0)
    values = {run: rng.normal(mean, 0.03, size=6) for run, mean in (("svm", 0.8), ("rf", 0.75))}
    chosen_names = ["svm", "rf", "svm", "svm", "svm", "svm"]
    splits = [scores_of({run: float(x[i]) for run, x in values.items()}, chosen_names[i]) for i in range(6)]
    splits[3].scores["partial"] = {"confidence_accuracy": 0.99}
    summary = summarize_splits(splits)
    assert [run.run for run in summary.rows] == ["chosen", "svm", "rf", "partial"]
    assert (summary.fit_s, summary.n_splits, summary.rows[1].n_chosen) == (9.0, 6, 5)
    reference = np.array([values[name][i] for i, name in enumerate(chosen_names)])
    differences = values["rf"] - reference
    standard_error = math.sqrt(1 / 6 + 25 / 75) * differences.std(ddof=1)
    half_width = t.ppf(0.975, 5) * standard_error
    row = summary.rows[2]
    assert row.difference == pytest.approx(differences.mean())
    assert (row.difference_low, row.difference_high) == pytest.approx(
        (differences.mean() - half_width, differences.mean() + half_width)
    )
    assert row.sds["confidence_accuracy"] == pytest.approx(values["rf"].std(ddof=1))
    p = [2 * t.sf(abs(d.mean()) / (math.sqrt(1 / 6 + 25 / 75) * d.std(ddof=1)), 5)
         for d in (values["svm"] - reference, differences)]  # fmt: skip
    assert row.p == pytest.approx(min(1, 2 * min(p)) if p[1] == min(p) else max(p[1], min(1, 2 * min(p))))
    assert summary.rows[3].difference is None
    assert summary.rows[3].means == {}


def test_runs_of_an_earlier_recipe_do_not_belong_to_a_split(toy_home: Path) -> None:
    sections = {"split": SPLIT | {"repeats": 2}, "ensemble": [{"methods": ["soft"]}]}
    run_splits(toy_recipe(**sections, head=toy_heads("logreg", "knn")), final=False)
    splits, summary = run_splits(toy_recipe(**sections, head=toy_heads("logreg", "lda")), final=False)
    assert {row.run for row in summary.targets[0].rows[1:]} == {"logreg", "lda", "soft"}
    for split in splits:
        newest = max(Path(split.folder).glob("soft-*"), key=lambda folder: folder.stat().st_mtime_ns)
        assert sorted(name.split("-")[0] for name in RunFolder(newest).members) == ["lda", "logreg"]
        assert len(list(Path(split.folder).glob("knn-*"))) == 1


@pytest.mark.parametrize("uses_network", [False, True])
def test_networks_trained_outside_the_splits_are_refused(toy_home: Path, uses_network: bool) -> None:
    backbone = "checkpoint:runs/other/net-12345678"
    network = {"name": "own", "backbone": backbone if uses_network else "toy", "strategy": "head", "epochs": 1}
    embedding = {"backbone": "checkpoint:own" if uses_network else backbone}
    text = toy_recipe(split=SPLIT | {"repeats": 2}, embedding=[embedding], finetune=[network])
    Path("featx.toml").write_text(text)
    with pytest.raises(
        DataError, match=f"may have been trained on test rows of an outer split, first .*backbone = '{backbone}'"
    ):
        list(stages())


def test_networks_of_sections_are_backbones_in_outer_splits(toy_home: Path) -> None:
    network = {"name": "own", "backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1}
    embedding = {"backbone": "checkpoint:own"}
    split = SPLIT | {"repeats": 2, "test": 0.3, "val": 0.2}
    heads = toy_heads("logreg")
    splits, _ = run_splits(toy_recipe(split=split, embedding=[embedding], finetune=[network], head=heads, ensemble=[]))
    assert [result.is_new for result in splits] == [True, True]


def test_intervals_over_two_splits_lie_within_the_limits_of_the_score(toy_home: Path) -> None:
    _, summary = run_splits(toy_recipe(split=SPLIT | {"repeats": 2}, head=toy_heads("logreg", "knn")), final=False)
    for row in summary.targets[0].rows:
        low, high = row.intervals["accuracy"]
        assert 0 <= low <= row.means["accuracy"] <= high <= 1
        bounds = [row.difference_low, row.difference_high]
        assert all(bound is None or -1 <= bound <= 1 for bound in bounds)
