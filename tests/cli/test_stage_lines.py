"""The lines of ``featx run``: each score has its name, with several targets after the name of the target."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from featx.cli.main import app
from featx.cli.output_settings import with_output_options, with_recipe_option
from featx.cli.stage_lines import StagePrinter
from tests.recipes import toy_heads, toy_recipe


def network(target: str, metric: str, score: float, is_new: bool = True) -> SimpleNamespace:
    run = f"net-{target}-{score}"
    values = {"target": target, "metric": metric, "val_score": score, "is_new": is_new, "train_s": 1.0, "warnings": []}
    return SimpleNamespace(run=run, label=f"net {score}", **values)


def test_scores_of_several_targets_have_their_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        network("defect", "accuracy", 0.875),
        network("defect", "accuracy", 0.5),
        network("age", "mae", 3.25, False),
    ]
    StagePrinter().add("finetune", runs)
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "finetune defect: val acc net 0.875 0.8750, net 0.5 0.5000; age: val mae net 3.25 3.250; "
        "1 of 3 already done; 2.0 s"
    )
    StagePrinter().add("finetune", runs[:2])
    assert "finetune val acc net 0.875 0.8750, net 0.5 0.5000; 2.0 s" in " ".join(capsys.readouterr().out.split())


def test_next_commands_name_the_preset_that_was_run(toy_home: Path) -> None:
    presets = {"small": {"sample": 30}}
    Path("my study.toml").write_text(toy_recipe(head=toy_heads("logreg"), ensemble=[], presets=presets))
    result = CliRunner().invoke(app, ["run", "-r", "my study.toml", "--preset", "small"])
    assert result.exit_code == 0, result.output
    next_step = " ".join(result.output.split()).partition(" next ")[2]
    predict, _, evaluate = next_step.partition("; when all models are made, ")
    assert predict == "featx predict PHOTOS --run logreg -r 'my study.toml#small'"
    assert evaluate.startswith("featx evaluate --final -r 'my study.toml#small'")
    shown = CliRunner().invoke(app, shlex.split(evaluate.removeprefix("featx ").partition(" runs/")[0]))
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "featx fit"),
        ({"recipe": "a.toml"}, "featx fit -r a.toml"),
        ({"recipe_option": "a b.toml"}, "featx fit -r 'a b.toml'"),
        ({"recipe": "a.toml", "preset": "small"}, "featx fit -r 'a.toml#small'"),
        ({"preset": "small"}, "featx fit -r 'featx.toml#small'"),
    ],
)
def test_next_commands_name_the_recipe_as_it_was_typed(
    options: dict[str, str], expected: str, toy_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(recipe: str = "", recipe_option: str = "", preset: str = "") -> None:
        sys.stdout.write(with_recipe_option("featx fit"))

    with_output_options(command)(wide=False, verbose=False, quiet=False, **options)
    assert capsys.readouterr().out.strip() == expected
