"""Outputs of a project depend on its recipe and data only, not on earlier commands.

Modules: embeddings.extraction_warnings.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import featx
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.processes import run_until_killed

RECIPE = TOY_RECIPE + '\n[[ensemble]]\nmethods = ["soft", "weighted"]\nfolds = 3\n'
FIT_UNTIL_KILLED = (
    "import tests.conftest, featx; featx.extract(); print('extracted', flush=True); featx.fit(trials=400)"
)


def project_outputs() -> dict[str, Any]:
    """Run all commands and return the split, vectors, models and scores."""
    featx.extract()
    featx.fit()
    featx.ensemble()
    study = Study.open(None)
    ids = np.sort(np.concatenate([study.ids(part) for part in ("train", "val", "test")]).astype(str)).astype(object)
    vectors = read_embeddings(study, ids, locked_embeddings(study)).x
    evaluation = featx.evaluate()[0]
    return {
        "split": study.split.loc[ids].to_dict(),
        "vectors": vectors.tolist(),
        "specs": [embedding.spec.model_dump(mode="json") for embedding in study.locked],
        "bodies": {run.name: run.body_sha256 for run in study.runs()},
        "predictions": {run.name: run.predictions.to_frame().to_dict("list") for run in study.runs()},
        "scores": {row.run: row.scores for row in evaluation.rows},
        "chosen": evaluation.chosen,
    }


def reseed() -> None:
    for seed in (1, 0):
        text = RECIPE.replace("[split]", f"[split]\nseed = {seed}") if seed else RECIPE
        Path("featx.toml").write_text(text)
        featx.extract()
        featx.fit(heads=["logreg"])


def add_and_remove() -> None:
    split_before = Study.open(None).split
    added_names = make_images(Path("more"), n_each=25, size=(22, 22))
    for name in added_names:
        shutil.copy(f"more/{name}", f"images/{name.replace('/', '/new')}")
    featx.extract()
    split_after = Study.open(None).split
    assert (split_after[split_before.index[split_before == "test"]] == "test").all()
    featx.fit()
    featx.ensemble()
    for path in Path("images").rglob("new*.png"):
        path.unlink()
    featx.extract()


def rename_and_back() -> None:
    for old_name, new_name in (("dark", "gloomy"), ("gloomy", "dark")):
        Path(f"images/{old_name}").rename(f"images/{new_name}")
        featx.extract()
        featx.fit(heads=["logreg"])


def kill_a_fit() -> None:
    run_until_killed(FIT_UNTIL_KILLED, is_reached=lambda: any(Path("runs/featx").glob(".trials-*.journal")))


HISTORIES = [reseed, add_and_remove, rename_and_back, kill_a_fit]


@pytest.mark.slow
def test_a_long_history_gives_what_a_fresh_folder_gives(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(home / "old" / "images", n_each=40)
    monkeypatch.chdir(home / "old")
    Path("featx.toml").write_text(RECIPE)
    project_outputs()
    for step in HISTORIES:
        step()
    outputs_after = project_outputs()
    make_images(home / "fresh" / "images", n_each=40)
    monkeypatch.chdir(home / "fresh")
    Path("featx.toml").write_text(RECIPE)
    expected = project_outputs()
    assert list(outputs_after) == list(expected)
    for name, value in expected.items():
        assert json.dumps(outputs_after[name], sort_keys=True) == json.dumps(value, sort_keys=True), name


def test_equal_models_count_once_in_an_ensemble(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg"], trials=2)
    featx.fit(heads=["logreg"], trials=1)
    featx.fit(heads=["rf"])
    study = Study.open(None)
    logregs = [run for run in study.runs() if run.name.startswith("logreg")]
    assert len(logregs) == 2
    equal = logregs[0].predictions.to_frame().equals(logregs[1].predictions.to_frame())
    (ensemble,) = featx.ensemble(methods=["soft"])
    assert ensemble.n_candidates == (2 if equal else 3)
    run_copy = shutil.copytree(logregs[0].path, logregs[0].path.with_name("zzz-class-00000000"))
    (repeated_ensemble,) = featx.ensemble(methods=["soft"])
    assert repeated_ensemble.members == ensemble.members
    first = min(run.name for run in logregs) if equal else logregs[0].name
    assert f"{run_copy.name} gives the same predictions as {first}: they count once" in repeated_ensemble.warnings
    assert not repeated_ensemble.is_new
    assert run_copy.name not in repeated_ensemble.members


def test_an_extraction_reports_how_the_split_differs_from_the_last_one(toy_home: Path) -> None:
    featx.extract()
    split_before = Study.open(None).split
    Path("featx.toml").write_text(TOY_RECIPE.replace("[split]", "[split]\nseed = 1"))
    lines = [line for line in featx.extract().warnings if "differs" in line]
    split_after = Study.open(None).split
    n_left = int((split_after[split_before.index[split_before == "test"]] != "test").sum())
    assert f"{n_left} of {int((split_before == 'test').sum())} test images moved" in lines[0]
    assert lines[0].endswith("[split] changed")
    assert not [line for line in featx.extract().warnings if "differs" in line]


def test_images_moved_by_an_exact_split_are_reported(toy_home: Path) -> None:
    Path("featx.toml").write_text(TOY_RECIPE.replace("[split]", '[split]\nmethod = "train_test_split"'))
    featx.extract()
    make_images(Path("more"), n_each=15, size=(22, 22))
    for path in Path("more").rglob("*.png"):
        shutil.copy(path, f"images/{path.parent.name}/new{path.name}")
    assert any("split.method = 'hash' keeps the part of each image" in line for line in featx.extract().warnings)


def test_small_classes_without_test_images_are_reported(home: Path) -> None:
    make_images(home / "images", [f"c{number}" for number in range(12)], n_each=3)
    Path("featx.toml").write_text(TOY_RECIPE)
    lines = featx.extract().warnings
    counts = pd.crosstab(
        [name.partition("/")[0] for name in Study.open(None).split.index], Study.open(None).split.values
    )
    absent_classes = counts.index[counts["test"] == 0]
    assert (counts["train"] > 0).all()
    assert f"{len(absent_classes)} of 12 classes have no image in test, first {absent_classes[0]!r}" in " ".join(lines)
