"""Changed files of a study: who notices, what is said, and which command repairs them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import featx
from featx.errors import FeatxError, IncompleteError
from featx.evaluation.evaluate import last_final
from featx.files.atomic import read_json, write_json
from featx.files.seals import SEAL, read_sealed, write_sealed
from featx.study.run_folder import RULES, RunFolder
from featx.study.study import Study
from tests.flips import make_study

OF_EXTRACT = [
    "manifest.parquet",
    "split.parquet",
    "outcomes.parquet",
    "split.json",
    "source.json",
    "embeddings.lock.json",
    "extraction.json",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's working directory."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        make_study(home)
    return home


@pytest.fixture
def folder(finished: Path, home: Path) -> Path:
    """The study's folder of a copy of the finished study, which is the working directory."""
    shutil.copytree(finished, home, dirs_exist_ok=True)
    featx.extract()  # images have other times here
    return Study.open(None).folder


def change(file: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def run_of(folder: Path, name: str) -> Path:
    (run,) = folder.glob(f"{name}-*")
    return run


def numbers() -> str:
    return json.dumps([found.rows for found in featx.evaluate()], default=vars)


@pytest.mark.parametrize("name", OF_EXTRACT)
def test_another_extraction_repairs_what_an_extraction_left(folder: Path, name: str) -> None:
    before = numbers()
    change(folder / name)
    with pytest.raises(IncompleteError, match=f"{name.replace('.', '[.]')} .*'featx extract'"):
        featx.evaluate()
    warnings = featx.extract().warnings
    assert any(f"{name} is not as the last extraction wrote it, and is written again" in line for line in warnings)
    assert numbers() == before
    assert not any("is made anew" in line for line in featx.extract().warnings)


def test_an_extraction_that_was_killed_between_two_tables_asks_for_another_one(folder: Path) -> None:
    before = numbers()
    table = pd.read_parquet(folder / "split.parquet")
    table["part"] = table["part"].to_numpy()[::-1]
    table.to_parquet(folder / "split.parquet", index=False)  # as the next extraction would, before its checksums
    with pytest.raises(IncompleteError, match=r"split\.parquet is not as it was written; .* 'featx extract'"):
        featx.evaluate()
    featx.extract()
    assert numbers() == before


def test_a_checksum_file_of_another_extraction_is_not_taken(folder: Path) -> None:
    write_sealed(folder / "extraction.json", {})
    with pytest.raises(IncompleteError, match=r"extraction\.json names no .*; run 'featx extract' again"):
        featx.evaluate()


@pytest.mark.parametrize("name", ["spec.json", "metrics.json", "header.json", "predictions.parquet", "model.joblib"])
def test_a_damaged_run_is_left_out_with_a_warning_and_refused(folder: Path, name: str) -> None:
    run = run_of(folder, "ridge-y")
    change(run / name)
    found = next(one for one in featx.evaluate() if one.target == "y")
    assert run.name not in {row.run for row in found.rows}
    assert any(warning.startswith(f"left out: run {run.name} is damaged") for warning in found.warnings)
    for refused in (
        lambda: featx.predict("images/a/000.png"),
        lambda: featx.predict("images/a/000.png", runs=[run.name]),
        lambda: featx.ensemble(target="y"),
        lambda: featx.fit(heads=["ridge"], trials=1, target="y"),
    ):
        with pytest.raises(IncompleteError, match=f"run {run.name} is damaged") as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert featx.fit(heads=["ridge"], trials=1, target="y", force=True)[0].made
    assert not RunFolder(run).damage


def test_a_changed_body_changes_no_cost_unnoticed(folder: Path) -> None:
    body = run_of(folder, "logreg-y") / "model.joblib"
    body.write_bytes(body.read_bytes()[:-10])
    found = next(one for one in featx.evaluate() if one.target == "y")
    assert any("model.joblib does not match its header" in warning for warning in found.warnings)


def test_an_ensemble_of_a_member_with_a_damaged_header_is_left_out_with_a_warning(folder: Path) -> None:
    change(run_of(folder, "logreg-y") / "header.json")
    (voted,) = folder.glob("soft-*")
    found = next(one for one in featx.evaluate() if one.target == "y")
    assert [row.run.partition("-")[0] for row in found.rows] == ["ridge"]
    assert any(f"left out: run {voted.name} is damaged" in warning for warning in found.warnings)


@pytest.mark.parametrize("value", [None, "absent"])
@pytest.mark.parametrize("name", ["spec.json", "metrics.json", "header.json"])
def test_a_file_without_its_seal_is_damaged(folder: Path, name: str, value: str | None) -> None:
    run = run_of(folder, "ridge-y")
    fields = read_json(run / name)
    del fields[SEAL]
    write_json(run / name, fields if value == "absent" else fields | {SEAL: value})
    assert run.name in {one.name for one in Study.open(None).damaged()}


def test_runs_from_before_seals_are_of_another_version_and_not_damaged(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("soft-*")))
    for run in folder.glob("ridge-*"):
        for name in ("spec.json", "metrics.json", "header.json"):
            fields = read_json(run / name)
            del fields[SEAL]
            write_json(run / name, fields)
        spec = read_json(run / "spec.json")
        write_json(run / "spec.json", spec | {"rules": RULES["head"] - 1})
    study = Study.open(None)
    assert study.damaged() == []
    assert not any(run.name.startswith("ridge") for run in study.runs("y"))
    (run,) = (path.name for path in folder.glob("ridge-age-*"))
    with pytest.raises(FeatxError, match=f"{run} was made by another version of featx"):
        study.runs("age", [run])


@pytest.mark.parametrize("name", ["copies.json", "copies.parquet"])
def test_copies_are_looked_for_again_where_their_files_are_damaged(folder: Path, name: str) -> None:
    before, content = numbers(), (folder / name).read_bytes()
    change(folder / name)
    assert not Study.open(None).knows_copies
    assert numbers() == before
    assert (folder / name).read_bytes() == content


def test_damaged_test_scores_are_left_out_with_a_warning(folder: Path) -> None:
    (file,) = folder.glob("final-y-*.json")
    assert last_final(Study.open(None), "y") is not None
    change(file)
    assert last_final(Study.open(None), "y") is None
    found = next(one for one in featx.evaluate() if one.target == "y")
    assert found.test_evidence == ""
    assert any("the test scores of the last opening are left out" in warning for warning in found.warnings)
    featx.report()
    featx.evaluate(final=True)
    assert read_sealed(file)["opening"] == Study.open(None).looks("y")[-1][SEAL]
