"""Changed files of a study: the errors and warnings, and the commands that repair the files."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import featx
from featx.errors import FeatxError, IncompleteError
from featx.evaluation.final_scores import read_last_final
from featx.files.atomic import read_json, write_json
from featx.files.seals import SEAL, read_sealed, write_sealed
from featx.study.run_folder import RunFolder
from featx.study.run_listing import list_runs
from featx.study.study import Study
from tests.flips import make_study
from tests.recipes import toy_recipe

EXTRACTION_FILES = [
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
    """Return the working directory of a finished study."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        make_study(home)
    return home


@pytest.fixture
def folder(finished: Path, home: Path) -> Path:
    """Copy the finished study into the working directory; return its folder."""
    shutil.copytree(finished, home, dirs_exist_ok=True)
    # The modification times of the images have changed.
    featx.extract()
    return Study.open(None).folder


def flip_middle_bit(file: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def run_folder(folder: Path, name: str) -> Path:
    (run,) = folder.glob(f"{name}-*")
    return run


def evaluation_json() -> str:
    """Return the rows of all comparisons as JSON."""
    return json.dumps([table.rows for table in featx.evaluate()], default=vars)


@pytest.mark.parametrize("name", EXTRACTION_FILES)
def test_another_extraction_repairs_damaged_extraction_files(folder: Path, name: str) -> None:
    evaluation_before = evaluation_json()
    flip_middle_bit(folder / name)
    with pytest.raises(IncompleteError, match=f"{name.replace('.', '[.]')} .*'featx extract'"):
        featx.evaluate()
    warnings = featx.extract().warnings
    assert any(f"{name} is not as the last extraction wrote it, and is written again" in line for line in warnings)
    assert evaluation_json() == evaluation_before
    assert not any("is made anew" in line for line in featx.extract().warnings)


def test_an_extraction_killed_between_two_tables_must_be_repeated(folder: Path) -> None:
    evaluation_before = evaluation_json()
    table = pd.read_parquet(folder / "split.parquet")
    table["part"] = table["part"].to_numpy()[::-1]
    # An extraction writes its tables before their checksums.
    table.to_parquet(folder / "split.parquet", index=False)
    with pytest.raises(IncompleteError, match=r"split\.parquet was changed after it was written; .* 'featx extract'"):
        featx.evaluate()
    featx.extract()
    assert evaluation_json() == evaluation_before


def test_a_checksum_file_of_another_extraction_is_an_error(folder: Path) -> None:
    write_sealed(folder / "extraction.json", {})
    with pytest.raises(IncompleteError, match=r"extraction\.json names no .*; run 'featx extract' again"):
        featx.evaluate()


@pytest.mark.parametrize("name", ["spec.json", "metrics.json", "header.json", "predictions.parquet", "model.joblib"])
def test_a_damaged_run_is_left_out_with_a_warning_or_an_error(folder: Path, name: str) -> None:
    run = run_folder(folder, "ridge-y")
    flip_middle_bit(run / name)
    table = next(evaluation for evaluation in featx.evaluate() if evaluation.target == "y")
    assert run.name not in {row.run for row in table.rows}
    assert any(warning.startswith(f"left out: run {run.name} is damaged") for warning in table.warnings)
    for call in (
        lambda: featx.predict("images/a/000.png"),
        lambda: featx.predict("images/a/000.png", runs=[run.name]),
        lambda: featx.ensemble(target="y"),
        lambda: featx.fit(heads=["ridge"], trials=1, target="y"),
    ):
        with pytest.raises(IncompleteError, match=f"run {run.name} is damaged") as error_info:
            call()
        assert "\n" not in str(error_info.value)
    assert featx.fit(heads=["ridge"], trials=1, target="y", force=True)[0].is_new
    assert not RunFolder(run).damage


def test_a_changed_model_file_gives_a_warning(folder: Path) -> None:
    body = run_folder(folder, "logreg-y") / "model.joblib"
    body.write_bytes(body.read_bytes()[:-10])
    table = next(evaluation for evaluation in featx.evaluate() if evaluation.target == "y")
    assert any("model.joblib does not match its header" in warning for warning in table.warnings)


def test_an_ensemble_with_a_damaged_member_is_left_out_with_a_warning(folder: Path) -> None:
    flip_middle_bit(run_folder(folder, "logreg-y") / "header.json")
    (ensemble,) = folder.glob("soft-*")
    table = next(evaluation for evaluation in featx.evaluate() if evaluation.target == "y")
    assert [row.run.partition("-")[0] for row in table.rows] == ["ridge"]
    member_path = run_folder(folder, "logreg-y")
    assert RunFolder(ensemble).damage.endswith(f"make it again after 'featx runs rm {member_path}'")
    assert any(f"left out: run {ensemble.name} is damaged" in warning for warning in table.warnings)


def test_an_ensemble_without_the_file_of_a_member_is_left_out(folder: Path) -> None:
    (run_folder(folder, "logreg-y") / "model.joblib").unlink()
    (ensemble,) = folder.glob("soft-*")
    table = next(evaluation for evaluation in featx.evaluate() if evaluation.target == "y")
    assert [row.run.partition("-")[0] for row in table.rows] == ["ridge"]
    (warning,) = [text for text in table.warnings if text.startswith(f"left out: run {ensemble.name} is damaged")]
    assert "model.joblib is missing" in warning


@pytest.mark.parametrize("value", [None, "absent"])
@pytest.mark.parametrize("name", ["spec.json", "metrics.json", "header.json"])
def test_a_file_without_its_seal_is_damaged(folder: Path, name: str, value: str | None) -> None:
    run = run_folder(folder, "ridge-y")
    fields = read_json(run / name)
    del fields[SEAL]
    write_json(run / name, fields if value == "absent" else fields | {SEAL: value})
    assert run.name in {damaged_run.name for damaged_run in Study.open(None).damaged()}


@pytest.mark.parametrize(("name", "key"), [("spec.json", "train"), ("metrics.json", "search"), ("header.json", "kind")])
def test_a_sealed_file_that_lacks_a_key_is_named_with_the_key(folder: Path, name: str, key: str) -> None:
    run = run_folder(folder, "ridge-y")
    fields = read_json(run / name)
    del fields[key]
    write_sealed(run / name, fields)
    if name == "header.json":
        with pytest.raises(FeatxError, match=rf"header\.json is not a header of format 1 \({key}: Field required"):
            featx.load(run)
    else:
        damage = RunFolder(run).damage
        assert f"{run / name} has unexpected content ({key}: Field required)" in damage
        assert damage.endswith(f"make it again after 'featx runs rm {run}'")


@pytest.mark.parametrize("name", ["copies.json", "copies.parquet"])
def test_damaged_lists_of_copies_are_computed_again(folder: Path, name: str) -> None:
    evaluation_before, content = evaluation_json(), (folder / name).read_bytes()
    flip_middle_bit(folder / name)
    assert not Study.open(None).knows_copies
    assert evaluation_json() == evaluation_before
    assert (folder / name).read_bytes() == content


def test_damaged_test_scores_are_left_out_with_a_warning(folder: Path) -> None:
    (file,) = folder.glob("final-y-*.json")
    assert read_last_final(Study.open(None), "y") is not None
    flip_middle_bit(file)
    assert read_last_final(Study.open(None), "y") is None
    table = next(evaluation for evaluation in featx.evaluate() if evaluation.target == "y")
    assert table.test_evidence == ""
    assert any("the test scores of the last opening are left out" in warning for warning in table.warnings)
    featx.report()
    featx.evaluate(final=True)
    assert read_sealed(file)["opening"] == Study.open(None).openings("y")[-1][SEAL]


def test_sealed_test_scores_of_another_form_are_left_out(folder: Path) -> None:
    (file,) = folder.glob("final-y-*.json")
    content = read_sealed(file)
    write_sealed(file, content | {"evaluation": content["evaluation"] | {"rows": [3]}})
    assert read_last_final(Study.open(None), "y") is None


def test_a_damaged_run_of_earlier_data_is_in_nobodys_way(toy_home: Path) -> None:
    featx.extract()
    (earlier,) = featx.fit(heads=["logreg"], trials=1)
    recipe = Path("featx.toml")
    recipe.write_text(toy_recipe(split={"test": 0.2, "val": 0.3, "seed": 5}))
    featx.extract()
    current = featx.fit(heads=["logreg", "rf"], trials=1)
    with (Path(earlier.path) / "model.joblib").open("ab") as file:
        file.write(b"x")
    assert RunFolder(Path(earlier.path)).damage
    assert not Study.open(None).damaged()
    assert {row.run for row in featx.evaluate()[0].rows} == {run.run for run in current}
    assert set(featx.ensemble(methods=["soft"])[0].members) == {run.run for run in current}
    assert set(featx.predict("images/dark/000.png", runs=["logreg"])) == {current[0].run}
    summary = next(summary for summary in list_runs() if summary.run == earlier.run)
    assert summary.state == "damaged"
    assert summary.reason.endswith(f"make it again after 'featx runs rm {earlier.path}'")
