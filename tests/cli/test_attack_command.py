"""``featx attack``: cost first, tables, and JSON; sections of the recipe, and limits in levels that are refused.

Modules: cli.attack_table, reports.study_report.attack_figures, reports.study_report.attack_section.
"""

import json
import re
from pathlib import Path

import pytest

from featx.cli.attack_command import attack_sections
from featx.robustness.robustness_evaluation import limit_text
from featx.specs.attacking import AttackSection
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from tests.printed import run_command
from tests.robustness.conftest import RECIPE
from tests.robustness.conftest import study as study
from tests.robustness.conftest import study_folder as study_folder

CURVE = """
[[attack]]
methods = ["fgsm", "pgd", "transfer"]
eps = ["25/255", "75/255"]
images = 6
steps = 3

[[attack]]
methods = ["cw", "patch"]
images = 6
steps = 3
"""


def test_attacks_are_announced_made_and_printed(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "attack logreg rf --method fgsm --method pgd --eps 0.3 --steps 4 --images 6 --queries 5"
    code, output, errors = run_command(words, capsys)
    assert code == 0
    cost, *_ = errors.splitlines()
    assert re.fullmatch(
        r"3 attacks on 2 runs with 6 of 13 val images of 20 × 18 px: at most [\d,]+ image passes in about [\d.]+ "
        "minutes, fewer where an attack succeeds early",
        cost,
    )
    assert "within linf 0.3, every run has robust accuracy 0.000" in output
    # Seven checks of 'logreg', and one of the forest.
    assert "of 8 passed" in output
    assert "without gradient, attacked by transfer and square: rf" in run_command(f"{words} --verbose", capsys)[1]
    assert all(len(line) <= 80 for line in output.splitlines())
    code, output, _ = run_command(f"{words} --json", capsys)
    (evaluation,) = json.loads(output)["evaluations"]
    assert {row["method"] for row in evaluation["attacks"]} == {"fgsm", "pgd"}
    assert all(0 <= row["accuracy"] <= 1 for row in evaluation["worst_cases"])
    assert "all results are stored" in run_command(words, capsys)[2]


def test_the_sections_of_a_recipe_give_the_whole_matrix(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Path("featx.toml").write_text(RECIPE + CURVE)
    code, output, errors = run_command("attack logreg lda", capsys)
    assert code == 0, errors
    assert "by limit (linf), worst case of all attacks" in output
    assert "25/255" in output
    output = run_command("attack logreg lda --verbose", capsys)[1]
    Path("featx.toml").write_text(RECIPE)
    assert "transfer of pgd within linf 75/255: accuracy in % of each run" in output
    assert "without a limit" in output
    assert all(len(line) <= 80 for line in output.splitlines())


def test_options_replace_their_keys_in_each_section_and_other_keys_stay(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("featx.toml").write_text(RECIPE + CURVE)
    code, output, errors = run_command("attack logreg lda --images 5 --json", capsys)
    Path("featx.toml").write_text(RECIPE)
    assert code == 0, errors
    (evaluation,) = json.loads(output)["evaluations"]
    assert evaluation["n_images"] == 5
    assert {row["method"] for row in evaluation["attacks"]} == {"fgsm", "pgd", "transfer", "cw", "patch"}


def test_sections_keep_what_no_option_names(tmp_path: Path) -> None:
    file = tmp_path / "featx.toml"
    file.write_text("seed = 7\n" + RECIPE + CURVE)
    curve, smallest = attack_sections(load_recipe(file), {"eps": ["1/255"], "restarts": 2})
    assert (curve.methods, smallest.methods) == (("fgsm", "pgd", "transfer"), ("cw", "patch"))
    assert {(section.eps, section.restarts, section.steps) for section in (curve, smallest)} == {((1 / 255,), 2, 3)}
    assert {section.seed for section in (curve, smallest)} == {7}
    (other,) = attack_sections(load_recipe(file), {"norms": ["l2"]})
    assert other == AttackSection(norms=("l2",), seed=7), "limits of linf are not those of l2"
    assert len(attack_sections(load_recipe(file), {"norms": ["linf"]})) == 2
    assert len(attack_sections(load_recipe(file), {"norms": ["l2"], "eps": [0.5]})) == 2
    file.write_text("seed = 7\n" + RECIPE)
    assert attack_sections(load_recipe(file), {"images": 9}) == [AttackSection(images=9, seed=7)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--eps 8", "write 0.03137 (8/255)"),
        ("--eps eight", "expected a number such as 0.03 or a fraction such as 8/255"),
        ("--method pdg", "pgd"),
        ("--norm l3", "found 'l3', expected to be 'linf' or 'l2'"),
        ("rf --white-box", "cannot be attacked with gradients"),
    ],
)
def test_wrong_options_get_one_line(study: Study, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    code, _, errors = run_command(f"attack {words}", capsys)
    assert code == 1
    assert message in errors
    assert "Traceback" not in errors


def test_limits_are_written_as_fractions_where_they_are_some() -> None:
    texts = [limit_text("linf", 8 / 255), limit_text("linf", 0.3), limit_text("l2", 8 / 255)]
    assert texts == ["8/255", "0.3", "0.0314"]


def test_a_whole_run_makes_attacks_and_reports_them(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    section = '[[attack]]\nmethods = ["pgd", "transfer"]\neps = [0.1, 0.3]\nsteps = 5\nimages = 9\nqueries = 5\n'
    Path("featx.toml").write_text(f'{RECIPE}\n{section}runs = ["logreg", "rf"]\n')
    code, output, errors = run_command("run", capsys)
    Path("featx.toml").write_text(RECIPE)
    assert code == 0, errors
    assert "attack   most robust at linf 0." in output
    assert all(len(line) <= 80 for line in output.splitlines() if not line.endswith("report.html"))
    assert "most robust at linf 0." in run_command("evaluate --verbose", capsys)[1]
    (attacks,) = json.loads(run_command("evaluate --json", capsys)[1])["attacks"]
    assert attacks["n_images"] == 9
    page = Path("runs/featx/report.html").read_text()
    for text in ("9 images of 13 in val were attacked", "strongest attack", "original, predicted", "× 10"):
        assert text in page, text
    for name in ("linf", "smallest-linf", "worst", "each", "examples", "transfer-0"):
        assert f'id="class-attacks-{name}"' in page, name
