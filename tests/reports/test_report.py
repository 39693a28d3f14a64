"""The report needs no other file, shows the scores, and does not open the test split.

Modules: reports.ensemble_tables, reports.figures, reports.group_figures.
"""

import re
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


class Page(HTMLParser):
    """Parser that collects the sources of a page and checks that its tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"img", "meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report_text() -> str:
    return featx.report().read_text()


def test_the_report_needs_no_other_file_and_shows_every_run(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble()
    text = report_text()
    page = Page(text)
    assert page.open == []
    assert len(page.sources) >= 3
    assert all(source.startswith("data:image/") for source in page.sources)
    (evaluation,) = featx.evaluate()
    for row in evaluation.rows:
        assert f'<td title="{row.run}">{row.label}</td>' in text
        assert f"{row.scores['log_loss']:.4f}" in text
    assert "The test split is sealed and has not been opened." in text
    assert Study.open(None).openings() == []


def test_the_report_shows_ensembles_and_their_diversity(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    assert "<h3>Ensembles</h3>" not in report_text()
    runs = featx.ensemble()
    text = report_text()
    assert Page(text).open == []
    assert text.count("<h3>Ensembles</h3>") == 1
    for run in runs:
        assert re.search(rf"<p><b>[^<]*\b{run.label}\b[^<]*</b>: {re.escape(run.explanation)}</p>", text)
    assert re.search(r"<td>(logreg|rf) · (logreg|rf)</td><td>0\.\d{4}</td>", text)
    for run in Study.open(None).runs():
        if isinstance(run.metrics, EnsembleMetrics):
            assert all(f"<td>{value:+.4f}</td>" in text for value in run.metrics.contributions.values())


def test_the_report_shows_test_scores_after_the_split_was_opened(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.evaluate(final=True)
    text = report_text()
    assert "All runs on test" in text
    assert "the split has been opened 1 time." in re.sub(r"\s+", " ", text)
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
    assert "<h3>logreg on val: scores by label</h3>" in text
    assert "<h3>Images of each label</h3>" in text
    counts = TargetValues.of(Study.open(None).labels("tone")).counts
    rows = re.findall(r"<tr><td>(light|dark)</td><td>(\d+)</td><td>(\d+)</td></tr>", text)
    assert {name: int(train) + int(val) for name, train, val in rows} == counts
    assert "Confusion" not in text


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
    import shutil

    featx.extract()
    featx.fit()
    shutil.rmtree("images")
    assert "All runs on val" in report_text()


def test_without_runs_there_is_no_report(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(IncompleteError, match="no finished run"):
        featx.report()
