"""Commands on the command line: in sequence without arguments, with JSON output, and their help.

Modules: cli.console, cli.data_commands, cli.fit_table, cli.command_line, cli.listing_commands, cli.main,
cli.model_commands, cli.options, cli.result_tables, workflow.run, workflow.stages.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app, main
from featx.specs.recipe import load_recipe, parse_recipe
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.json_reference import JSON_COMMANDS, keys_of
from tests.recipes import toy_recipe

README = Path(__file__).parents[2] / "README.md"
COMMANDS = {(command.name or command.callback.__name__): command.callback for command in app.registered_commands}


def run(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must succeed, and return what it printed on standard output."""
    capsys.readouterr()
    sys.argv = ["featx", *words.split()]
    with pytest.raises(SystemExit) as exit_info:
        main()
    output = capsys.readouterr()
    assert not exit_info.value.code, output.err
    return output.out


def test_commands_in_sequence_need_no_arguments(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "48 files: 48 embedded" in run("extract", capsys)
    assert "48 files: 0 embedded, 48 cached" in run("extract", capsys)
    assert "best head for class: logreg, acc " in run("fit --head logreg", capsys)
    assert "rf-class-" in run("fit --head rf --wide", capsys)
    ensembles = run("ensemble --verbose", capsys)
    assert "majority-class-" in ensembles
    assert re.search(r"weighted-class-\w+: logreg 0\.\d+, rf ", ensembles)
    assert re.search(r"best member, (logreg|rf): acc \d\.\d{4}", ensembles)
    assert re.search(r"median member: acc \d\.\d{4}", ensembles)
    assert re.search(r"best ensemble for class: (majority|soft|weighted|greedy), .* its best member", ensembles)
    table = run("evaluate --final --per-class", capsys)
    assert "class on test (n 11)" in table
    assert "opened once" in table
    predictions = run("predict images/dark/001.png", capsys)
    assert re.search(r"^class of images/dark/001.png", predictions, re.MULTILINE)
    assert re.search(r"^run +prediction\n(\S+ +dark \d\.\d\d\n){6}", predictions, re.MULTILINE)
    assert run("report", capsys).strip() == "runs/featx/report.html"
    assert "head for 'class', predicts classes (dark, light)" in run("show logreg", capsys)
    soft = run(f"show {next(Path('runs/featx').glob('soft-*'))}", capsys)
    assert "settings  method soft, metric accuracy" in soft
    assert "cost      2 models, 1 networks for each image" in soft
    assert parse_recipe(tomllib.loads(run("show featx.toml", capsys)), Path("featx.toml")) == load_recipe("featx.toml")


def test_run_does_all_stages_and_skips_finished_ones(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = "[corruption]\nkinds = ['fog']\nseverities = [2]\nimages = 6\n"
    (toy_home / "featx.toml").write_text(TOY_RECIPE + section)
    first = run("run featx.toml --final --user Ada", capsys)
    lines = first.splitlines()
    words = [line.partition(" ")[0] for line in lines[: lines.index("")]]
    assert list(filter(None, words)) == ["extract", "fit", "fit", "ensemble", "corrupt"]
    assert "best under corruption" in first
    assert first.strip().endswith("runs/featx/report.html")
    assert [opening["user"] for opening in Study.open(None).openings()] == ["Ada"]
    repeated_output = run("run featx.toml", capsys)
    assert "0 embedded, 48 cached" in repeated_output
    assert re.findall(r"(\d)\s+of\s+\d\s+already\s+done", repeated_output) == ["1", "1", "4"]
    stages = ["extract", "fit", "fit", "ensemble", "evaluate", "corrupt"]
    details = run("run featx.toml --verbose", capsys)
    assert [line.removeprefix("── featx ") for line in details.splitlines() if line.startswith("──")] == stages
    assert run("run featx.toml --quiet", capsys).splitlines()[1:] == ["runs/featx/report.html"]


def test_finetune_prints_its_grid_with_the_best_run_first(
    toy_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    section = '[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 2\nstrategy = "head"\nlr = [0.1, 0.01]\n'
    (toy_home / "featx.toml").write_text(TOY_RECIPE + section)
    run("extract", capsys)
    table = run("finetune --verbose", capsys)
    assert re.search(r"network +lr +best epoch +train acc +held-out acc +val acc +val loss +time +per epoch", table)
    assert "best epoch by the loss on rows held out of train" in table
    assert re.findall(r"^toy +(0\.\d+) ", table, re.MULTILINE) in (["0.1", "0.01"], ["0.01", "0.1"])
    assert table.count("all runs: random weights") == 1
    output = json.loads(run("finetune --lr 0.1 --strategy head --strategy all --json", capsys))
    assert output["best_run"] == output["runs"][0]["run"]
    assert {run_row["settings"]["strategy"] for run_row in output["runs"]} == {"head", "scratch"}
    assert "network for 'class', predicts classes" in run(f"show {output['runs'][0]['path']}", capsys)
    assert " toy/scratch/lr=0.1 " in run("evaluate --verbose", capsys)
    assert "network for 'class'" in run("show toy/scratch/lr=0.1", capsys)


def test_json_is_one_object_with_documented_keys(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {
        words: json.loads(run(f"{words} --json", capsys))
        for words in (
            *("extract", "fit", "ensemble", "evaluate", "report", "run", "leaks", "heads", "doctor", "backbones toy"),
            *("init images -r other.toml", "predict images/dark/001.png --run rf", "export rf --format joblib"),
            *("runs ls", "runs show rf", "runs rename greedy best", "runs rm majority --yes"),
            *(
                "cache ls",
                "cache verify",
                "cache compact",
                "cache gc --dry-run",
                "cache export toy --to toy.npz",
                "corrupt rf --kind fog --images 4",
            ),
        )
    }
    for words, output in outputs.items():
        (name,) = [name for name in JSON_COMMANDS if re.match(f"{name.replace('NAME', 'toy')}( |$)", words)][-1:]
        keys = [key for part in JSON_COMMANDS[name] for key in keys_of(part)]
        assert output.keys() == {key.name for key in keys if not key.only_after_error}, words
    extract_output = outputs["extract"]
    counts = ("n_embedded", "n_cached", "n_duplicate", "n_unreadable", "n_missing", "n_ignored")
    assert sum(extract_output[name] for name in counts) == extract_output["n_found"] == 48
    assert extract_output["images_per_s"] > 0
    assert {"search_s", "train_s", "accuracy", "val_accuracy", "best_run", "runs"} <= outputs["fit"].keys()
    assert {row["run"] for row in outputs["evaluate"]["targets"][0]["rows"]} == {
        row["run"] for row in outputs["fit"]["runs"] + outputs["ensemble"]["runs"]
    }
    ensembled = outputs["ensemble"]
    assert {"metric", "score", "best_member_score", "best_run"} <= ensembled.keys()
    assert ensembled["best_run"] == ensembled["runs"][0]["run"]
    assert {"members", "weights", "scored_on", "n", "median_member_score", "explanation", "warnings"} <= ensembled[
        "runs"
    ][0].keys()
    assert outputs["predict images/dark/001.png --run rf"]["predictions"][0]["label"] in {"dark", "light"}
    (export_output,) = outputs["export rf --format joblib"]["files"]
    assert export_output["parity"]["n_rows_above_tolerance"] == 0
    assert outputs["heads"]["heads"][2]["name"] == "logreg"
    assert json.loads(run("show featx.toml --json", capsys))["head"][0]["trials"] == 2


def test_every_command_has_the_options_of_its_output() -> None:
    commands = [(name,) for name in COMMANDS]
    commands += [("cache", name) for name in ("ls", "verify", "compact", "gc", "export")]
    commands += [("runs", name) for name in ("ls", "show", "rm", "rename")]
    for words in commands:
        text = CliRunner().invoke(app, [*words, "--help"]).output
        for option in ("--json", "--wide", "-v, --verbose", "-q, --quiet"):
            assert f" {option} " in text, words
    result = CliRunner().invoke(app, ["heads", "--quiet", "--verbose"])
    assert result.exit_code == 2
    assert "--verbose and --quiet exclude each other" in result.output


@pytest.mark.parametrize("command", ["evaluate", "attack", "run"])
def test_a_name_for_the_log_needs_an_opening(command: str, toy_home: Path) -> None:
    result = CliRunner().invoke(app, [command, "--user", "ada"])
    assert result.exit_code == 2
    assert "--user is the name that --final logs" in result.output
    assert not Path("runs").exists()


def test_an_option_with_one_value_is_given_once(toy_home: Path) -> None:
    result = CliRunner().invoke(app, ["init", "images", "--target", "a", "--target", "b", "--force"])
    assert result.exit_code == 2
    assert "'--target': found it 2 times, expected one value" in result.output
    result = CliRunner().invoke(app, ["fit", "--head", "svm", "--head", "lda", "--trials", "3", "--trials", "4"])
    assert "'--trials': found it 2 times" in result.output
    assert CliRunner().invoke(app, ["backbones", "--json", "--json"]).exit_code == 0


def test_the_version_is_printed_and_in_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"featx {featx.__version__}\n"


def test_the_list_of_commands_has_whole_sentences() -> None:
    for words in ([], ["cache"], ["runs"]):
        result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
        commands = result.output.partition("Commands:")[2]
        assert len(commands.splitlines()) > 4
        assert "..." not in commands
        assert all(len(line) <= 80 for line in commands.splitlines())
    assert "explore.html and tables." in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output


def test_the_next_command_names_the_recipe(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my study.toml").write_text(TOY_RECIPE)
    result = CliRunner().invoke(app, ["extract", "-r", "my study.toml"])
    assert result.output.splitlines()[-1] == "next     featx fit -r 'my study.toml'"
    assert run("extract", capsys).splitlines()[-1] == "next     featx fit"


def test_a_next_command_is_not_broken_where_a_line_is_long_enough(
    toy_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Path("long_name_of_a_study.toml").write_text(TOY_RECIPE)
    run("extract -r long_name_of_a_study.toml", capsys)
    assert run("fit --head rf -r long_name_of_a_study.toml", capsys).splitlines()[-2:] == [
        "next     featx ensemble -r long_name_of_a_study.toml,",
        "         or featx evaluate -r long_name_of_a_study.toml",
    ]


def test_predictions_can_be_written_as_csv(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("extract", capsys)
    run("fit --head rf", capsys)
    run("predict images/dark/001.png images/light/002.png --output predictions.csv", capsys)
    header, first, second = Path("predictions.csv").read_text().splitlines()
    assert header == "image,run,label,probability,proba.dark,proba.light,true"
    assert first.startswith("images/dark/001.png,rf-class-")
    assert second.startswith("images/light/002.png,rf-class-")


def test_extract_with_a_source_writes_a_recipe_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(home / "photos", n_each=12)
    text = run("extract photos --backbone efficientnet_lite0 --device cpu", capsys)
    assert "images   24, read as 'folder'" in text
    assert "target   class: dark 12, light 12" in text
    assert "24 files: 24 embedded" in text
    assert 'source = "photos"' in Path("featx.toml").read_text()


def test_the_recipe_is_found_by_option_and_by_environment(
    toy_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.toml").write_text(TOY_RECIPE)
    run("extract -r other.toml", capsys)
    assert Path("runs/other/manifest.parquet").is_file()
    monkeypatch.setenv("FEATX_RECIPE", "other.toml")
    monkeypatch.setenv("FEATX_RUNS", "elsewhere")
    run("extract", capsys)
    assert Path("elsewhere/other/manifest.parquet").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_in_its_help_and_the_readme(name: str) -> None:
    text = COMMANDS[name].__doc__ or ""
    assert f"featx {name}" in text.partition("Example")[2]
    first_line = text.strip().splitlines()[0]
    assert any(line.startswith(f"| `featx {name}") and first_line in line for line in README.read_text().splitlines())
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert first_line[:40] in result.output


def test_an_extraction_of_a_source_continues_with_its_recipe(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(home / "photos")
    (home / "toy.toml").write_text(TOY_RECIPE.replace('"images"', '"photos"'))
    words = f"extract {home / 'photos'} -r toy.toml"
    assert "48 files: 48 embedded" in run(words, capsys)
    assert "48 files: 0 embedded, 48 cached" in run(words.replace(str(home), "."), capsys)
    assert "48 files: 0 embedded, 48 cached" in run("extract . -r toy.toml", capsys)
    make_images(home / "others")
    sys.argv = ["featx", "extract", "others", "-r", "toy.toml"]
    with pytest.raises(SystemExit):
        main()
    assert "error: toy.toml exists and reads 'photos', found 'others'; name another recipe" in capsys.readouterr().err


def test_images_without_embeddings_are_not_called_cached(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(home / "images")
    network = {"backbone": "toy", "weights": "none", "epochs": 1}
    (home / "featx.toml").write_text(toy_recipe(embedding=None, head=None, finetune=[network]))
    output = run("extract", capsys)
    assert "48 files: 48 readable images, 0 duplicate" in output
    assert "images, without embeddings: train " in output
    assert "cached" not in output
