"""Model cards state scores and provenance, with metadata that Hugging Face reads; assets and paths of a report."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import featx
from featx.artifacts.header import read_header
from featx.cli.main import app
from featx.errors import StoreError
from featx.reports.model_card import MODEL_CARD
from featx.reports.report import ReportFiles
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

HOSTILE = "<script>alert(1)</script>|`\x1b[31m"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReportFiles]:
    """Yield the report with assets of a study with a hostile class name, an ensemble and test scores."""
    home = tmp_path_factory.mktemp("cards")
    ids = make_images(home / "images", n_each=40)
    labels = [HOSTILE if name.startswith("light") else "dark" for name in ids]
    pd.DataFrame({"path": ids, "tone": labels}).to_csv(home / "images" / "labels.csv", index=False)
    recipe = toy_recipe(data=LABEL_TABLE, targets={"tone": {"column": "tone"}}, head=toy_heads("logreg", "rf"))
    (home / "featx.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        featx.extract()
        featx.fit()
        featx.ensemble(methods=["soft"])
        featx.evaluate(final=True)
        yield featx.report(assets="figures")


def test_every_run_has_a_card_that_hugging_face_reads(files: ReportFiles) -> None:
    (evaluation,) = featx.evaluate()
    assert {Path(card).parent.name for card in files.cards} == {row.run for row in evaluation.rows}
    for path in files.cards:
        card = ModelCard.load(path)
        (row,) = (row for row in evaluation.rows if row.run == Path(path).parent.name)
        assert card.data.library_name == "featx"
        assert card.data.pipeline_tag == "image-classification"
        results = {result.dataset_split: result for result in card.data.eval_results}
        assert results["validation"].metric_value == pytest.approx(row.scores["accuracy"], abs=1e-6)
        assert set(results) == {"validation", "test"}
        assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_a_card_has_all_sections_and_escapes_names(files: ReportFiles) -> None:
    text = Path(files.cards[0]).read_text()
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Intended use",
        "## Data",
        "## Scores",
        "## Limits and warnings",
        "## How to load",
        "## Provenance",
    ]
    (evaluation,) = featx.evaluate()
    row = evaluation.rows[0]
    assert f"| accuracy | {row.scores['accuracy']:.4f} (" in text
    assert read_header(Path(files.cards[0]).parent)[1].body_sha256 in text
    assert "<script>" not in text
    assert "\x1b" not in text


def test_a_run_with_a_card_is_intact(files: ReportFiles) -> None:
    model = featx.load(Path(files.cards[0]).parent)
    assert model.predict_images(["images/dark/000.png"]).labels == ["dark"]
    assert not featx.evaluate()[0].warnings


def test_all_figures_and_tables_are_written_as_files(files: ReportFiles) -> None:
    names = {Path(path).name for path in files.assets}
    assert all(Path(path).is_file() for path in files.assets)
    (evaluation,) = featx.evaluate()
    frame = pd.read_csv("figures/tone-runs-on-val.csv")
    assert frame["accuracy"].tolist() == [row.scores["accuracy"] for row in evaluation.rows]
    chosen_run = evaluation.chosen
    for figure in ("reliability", "roc", "coverage"):
        assert {f"tone-{chosen_run}-{figure}.png", f"tone-{chosen_run}-{figure}.svg"} <= names
    counts = pd.read_csv(f"figures/tone-{chosen_run}-confusion.csv", index_col=0)
    assert counts.to_numpy().tolist() == evaluation.rows[0].confusion
    thresholds = pd.read_csv(f"figures/tone-{chosen_run}-threshold.csv")
    assert (thresholds.iloc[:, 1:].sum(axis=1) == evaluation.rows[0].scores["n"]).all()


def test_the_command_prints_all_paths(files: ReportFiles) -> None:
    result = CliRunner().invoke(app, ["report", "--json"])
    output = json.loads(result.stdout)
    assert output == {"report": files.report, "assets": [], "cards": files.cards}
    assert all(Path(card).name == MODEL_CARD for card in output["cards"])


def test_a_folder_that_cannot_be_written_is_one_clear_line(files: ReportFiles) -> None:
    Path("occupied").write_text("a file")
    with pytest.raises(StoreError, match="occupied cannot be written, because a file is in the place of a folder"):
        featx.report(assets="occupied")


def test_out_of_fold_scores_are_those_of_train(toy_home: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(split={"val": 0.0}, head=toy_heads("logreg")))
    featx.extract()
    featx.fit()
    (path,) = featx.report().cards
    (result,) = ModelCard.load(path).data.eval_results
    assert (result.dataset_split, result.dataset_name) == ("train", "featx, out-of-fold train rows")
