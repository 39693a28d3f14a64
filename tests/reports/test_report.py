"""The report needs no other file, shows the scores, and does not open the test split.

Modules: reports.study_report.calibration_section, reports.study_report.comparison_section,
reports.study_report.ensemble_section, reports.study_report.facts, reports.study_report.final_section,
reports.study_report.group_section, reports.study_report.number_section, reports.study_report.study_sections,
reports.study_report.summary, reports.study_report.training_figures.
"""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import featx
from featx.errors import IncompleteError
from featx.study.ensemble_metrics import EnsembleMetrics
from featx.study.study import Study
from featx.tables.target_values import TargetValues
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

VOID_TAGS = {"img", "meta", "br", "link", "input", "wbr"}


class Page(HTMLParser):
    """Parser that collects the ids and links of a page and checks that its tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report_text() -> str:
    """Return the text of the report, on one line with single spaces."""
    return re.sub(r"\s+", " ", Path(featx.report().report).read_text())


def cells(text: str) -> list[str]:
    """Return the contents of all cells of the tables of a page."""
    return re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)


def test_the_report_needs_no_other_file_and_shows_every_run(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble()
    text = report_text()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)) > 50
    inner = {link[1:] for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"url\((?![\"']?(data:|#))", text)
    (evaluation,) = featx.evaluate()
    for row in evaluation.rows:
        assert row.label in cells(text)
        assert f"{row.scores['log_loss']:.4f}" in cells(text)
        assert f"Run {row.run}." in text
    assert "The test split is sealed and has not been opened." in text
    assert Study.open(None).openings() == []


def test_the_summary_has_five_sentences(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    text = report_text()
    sentences = re.findall(r'<p class="summary"[^>]*>([^<]*)</p>', text)
    assert len(sentences) == 5
    (evaluation,) = featx.evaluate()
    row = evaluation.rows[0]
    low, high = row.intervals["accuracy"]
    assert (
        f"the best of 2 runs is {row.label}, selected by accuracy on val: accuracy {row.scores['accuracy']:.4f}"
        in (sentences[0])
    )
    assert f"(95 % interval {low:.4f} … {high:.4f}, n {row.scores['n']})" in sentences[0]
    assert "too few to compare runs" in sentences[1]
    headings = re.findall(r"<th scope=\"col\" data-column[^>]*>([^<]*)</th>", text)
    assert headings[:6] == ["run", "n", "accuracy", "95 % low", "95 % high", "balanced accuracy"]
    assert f"All runs on val ({row.scores['n']} rows), best selection score first" in text
    assert sentences[2].startswith("There is no ensemble")


def test_the_report_shows_ensembles_and_their_diversity(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    assert ">Ensembles</h3>" not in report_text()
    runs = featx.ensemble()
    text = report_text()
    assert text.count(">Ensembles</h3>") == 1
    for run in runs:
        assert re.search(rf"<p[^>]*>[^<]*\b{run.label}\b[^<]*: {re.escape(run.explanation)}</p>", text)
    assert re.search(r">(logreg|rf) · (logreg|rf)</th> <td[^>]*>0\.\d{4}</td>", text)
    for run in Study.open(None).runs():
        if isinstance(run.metrics, EnsembleMetrics):
            assert all(f"{value:+.4f}" in cells(text) for value in run.metrics.contributions.values())


def test_the_report_shows_test_scores_after_the_split_was_opened(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    (final_evaluation,) = featx.evaluate(final=True)
    text = report_text()
    assert "All runs on test" in text
    assert "the split has been opened 1 time." in text
    assert f"Confusion matrix of {final_evaluation.rows[0].label} on test." in text
    assert len(Study.open(None).openings()) == 1


def test_the_report_of_labels_has_the_scores_and_counts_of_each_label(toy_home: Path) -> None:
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    is_light = [int(name.startswith("light")) for name in ids]
    pd.DataFrame({"path": ids, "light": is_light, "dark": [1 - value for value in is_light]}).to_csv(
        "images/labels.csv", index=False
    )
    target = {"tone": {"column": "light", "columns": ["light", "dark"], "kind": "labels"}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=target, head=toy_heads("logreg")))
    featx.extract()
    featx.fit()
    text = report_text()
    assert "logreg on val: scores by label, with 95 % intervals." in text
    assert ">Images of each label</h3>" in text
    counts = TargetValues.of(Study.open(None).labels("tone")).counts
    rows = re.findall(r">(light|dark)</th> <td[^>]*>(\d+)</td> <td[^>]*>(\d+)</td> </tr>", text)
    assert {name: int(train) + int(val) for name, train, val in rows} == counts
    assert "Confusion matrix" not in text


def test_broken_images_and_special_names_are_escaped(toy_home: Path) -> None:
    Path("images/dark/<b>broken & odd.png").write_bytes(b"no picture")
    Path("images/dark/red\x1b[31m\n\u202e.png").write_bytes(b"no picture")
    featx.extract()
    featx.fit(heads=["logreg"])
    text = report_text()
    assert "dark/&lt;b&gt;broken &amp; odd.png" in text
    assert r"dark/red\x1b[31m\n\u202e.png" in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert "is not an image of a known format" in text


def test_the_report_is_written_without_the_images(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    shutil.rmtree("images")
    text = report_text()
    assert "All runs on val" in text
    assert re.search(r"(\d+) of \1 images that this page would show have no picture: \1 cannot be read any more", text)


def test_runs_of_another_split_are_left_out_and_named(toy_home: Path) -> None:
    featx.extract()
    (stale,) = featx.fit(heads=["rf"])
    Path("featx.toml").write_text(toy_recipe(split={"test": 0.25, "val": 0.3}))
    featx.extract()
    with pytest.raises(IncompleteError, match="no finished run for the current data"):
        featx.report()
    (current,) = featx.fit(heads=["rf"])
    text = report_text()
    assert f"Left out: {stale.run} was made on other images or another split." in text
    assert f"Run {stale.run}." not in text
    assert f"Run {current.run}." in text


def test_without_runs_there_is_no_report(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(IncompleteError, match="no finished run"):
        featx.report()
