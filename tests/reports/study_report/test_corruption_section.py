"""The section about corrupted images: tables, figures and examples of results that fit the current runs and images.

Modules: reports.study_report.corruption_figures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import featx
from featx.reports.page.components import Component, Details, Figure, Gallery, Section, Table, Text
from featx.reports.study_report.corruption_section import build_corruptions
from featx.reports.study_report.facts import TargetFacts
from featx.robustness.corrupt import corrupt
from featx.specs.corrupting import CorruptionSpec
from featx.study.study import Study

KINDS = ("fog", "gaussian_noise", "rotation")
SPEC = CorruptionSpec(kinds=(*KINDS, "probe"), severities=(2, 4), images=8)


def build() -> Section | None:
    study = Study.open(None)
    (evaluation,) = featx.evaluate()
    return build_corruptions(TargetFacts.collect(study, evaluation))


T = TypeVar("T")


def of_type(components: Sequence[Component], kind: type[T]) -> list[T]:
    """Return the components of a type, those in details included."""
    inner = [item for part in components if isinstance(part, Details) for item in of_type(part.components, kind)]
    return [part for part in components if isinstance(part, kind)] + inner


def test_results_are_shown_until_runs_or_images_change(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    assert build() is None
    results = corrupt(spec=SPEC)
    section = build()
    assert section is not None
    scores, kinds = of_type(section.components, Table)
    assert [row[0] for row in scores.rows] == [run.label for run in results.runs]
    assert [column.name for column in scores.columns][:4] == [
        *("run", "accuracy on originals", "accuracy on corrupted", "95 % interval")
    ]
    assert {row[0] for row in kinds.rows} == set(KINDS)
    by_run, by_severity, _ = of_type(section.components, Figure)
    texts = [text.get_text() for text in by_run.figure.axes[0].texts]
    assert len(texts) == (1 + len(KINDS)) * len(results.runs)
    assert len(by_severity.figure.axes[0].texts) == len(KINDS) * 2
    (examples,) = of_type(section.components, Gallery)
    assert examples.items[0].id == "original"
    assert {item.id for item in examples.items} >= {*KINDS, "patch_shuffle", "edges"}
    # A run with another name or other files is not shown with results that are not its own.
    (forest,) = Path("runs/featx").glob("rf-*")
    forest.rename(forest.with_name(forest.name.replace("rf", "best")))
    changed_section = build()
    assert changed_section is not None
    (remaining, _), texts = of_type(changed_section.components, Table), of_type(changed_section.components, Text)
    assert [row[0] for row in remaining.rows] == ["logreg"]
    assert any("Not evaluated, or changed since: 1 of 2 runs." in text.text for text in texts)
