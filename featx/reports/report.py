"""Report of a study: scores, figures, images and the origin of the results in one ``report.html``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featx.artifacts.header import commit
from featx.evaluation.evaluate import evaluate
from featx.evaluation.leaks import leaks
from featx.progress import ProgressCallback, no_progress
from featx.reports.page.components import Section
from featx.reports.page.page import Page
from featx.reports.pictures import load_pictures
from featx.reports.study_report.calibration_section import build_calibration
from featx.reports.study_report.comparison_section import build_comparison
from featx.reports.study_report.ensemble_section import build_ensembles
from featx.reports.study_report.facts import TargetFacts
from featx.reports.study_report.final_section import build_final
from featx.reports.study_report.group_section import build_groups
from featx.reports.study_report.leak_section import build_leaks, select_pairs
from featx.reports.study_report.run_images import PictureBudget, choose_images
from featx.reports.study_report.run_sections import build_run_sections
from featx.reports.study_report.study_sections import build_counts, build_images, build_origin, build_what_was_done
from featx.reports.study_report.summary import summarize
from featx.reports.study_report.training_figures import build_search_section
from featx.specs.recipe import Recipe
from featx.study.study import Study
from featx.text.masking import mask_secrets

# Coverage of the prediction sets and intervals in the report.
COVERAGE = 0.9


@dataclass(frozen=True)
class ReportFiles:
    """Files of a report.

    Attributes
    ----------
    report
        Path of the page.
    """

    report: str


def report(recipe: str | Path | Recipe | None = None, *, progress: ProgressCallback = no_progress) -> ReportFiles:
    """Write the recipe's ``report.html`` and return its path.

    The test split stays sealed. Test scores are those of the last ``featx evaluate --final``, if there was one.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    progress
        Callback for the progress of the search for copies and of the pictures.

    Raises
    ------
    IncompleteError
        there is no finished run.
    """
    study = Study.open(recipe)
    evaluations = evaluate(study.recipe, coverage=COVERAGE, progress=progress)
    targets = [TargetFacts.collect(study, evaluation) for evaluation in evaluations]
    page = _build_page(study, targets, progress)
    path = study.folder / "report.html"
    page.write(path)
    return ReportFiles(str(path))


def _build_page(study: Study, targets: Sequence[TargetFacts], progress: ProgressCallback) -> Page:
    study_leaks = leaks(study.recipe, progress=progress)
    budget = PictureBudget()
    pairs = [name for pair in select_pairs(study_leaks) for name in (pair.id, pair.copy)]
    budget.admit(pairs, len(pairs))
    shown = [choose_images(facts, budget) for facts in targets]
    pictures = load_pictures(study, list(budget.ids), progress)
    sections: list[Section | None] = [
        Section("Summary", [sentence for facts in targets for sentence in summarize(facts)]),
        build_what_was_done(study, targets),
    ]
    for facts, images in zip(targets, shown, strict=True):
        inner = [
            build_comparison(facts),
            build_final(facts),
            build_groups(facts),
            build_calibration(facts),
            build_ensembles(facts),
            build_search_section(facts),
            build_run_sections(facts, images, pictures),
            build_counts(facts),
        ]
        sections.append(Section(facts.target, (), [section for section in inner if section is not None]))
    sections += [build_images(study), build_leaks(study_leaks, pictures), build_origin(targets)]
    return Page(study.recipe.name, _subtitle(study), [section for section in sections if section is not None])


def _subtitle(study: Study) -> str:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    name = commit()
    version = f" at {name[:12]}{' (with changes)' if 'dirty' in name else ''}" if name else ""
    return f"{len(study.outcomes):,} images from {mask_secrets(study.recipe.data.source)} · created {created}{version}"
