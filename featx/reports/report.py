"""Report of a study: scores, figures, images and the origin of the results in one ``report.html``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featx.artifacts.header import commit
from featx.errors import StoreError
from featx.evaluation.coverage import CoverageCheck
from featx.evaluation.evaluate import evaluate_study
from featx.evaluation.leaks import find_leaks
from featx.files.unwritable_places import NOT_WRITABLE_ERRNOS, describe_unwritable
from featx.progress import ProgressCallback, no_progress
from featx.reports.model_card import MODEL_CARD, write_model_cards
from featx.reports.page.components import Section
from featx.reports.page.page import Page
from featx.reports.pictures import load_pictures
from featx.reports.study_report.attack_section import build_attacks
from featx.reports.study_report.calibration_section import build_calibration
from featx.reports.study_report.certificate_section import build_certificates
from featx.reports.study_report.comparison_section import build_comparison
from featx.reports.study_report.corruption_section import build_corruptions
from featx.reports.study_report.disagreements import find_disagreements
from featx.reports.study_report.ensemble_section import build_ensembles
from featx.reports.study_report.facts import TargetFacts
from featx.reports.study_report.final_section import build_final
from featx.reports.study_report.group_section import build_groups
from featx.reports.study_report.influence_section import build_influences
from featx.reports.study_report.leak_section import build_leaks, select_pairs
from featx.reports.study_report.run_images import PictureBudget, choose_images
from featx.reports.study_report.run_sections import build_run_sections
from featx.reports.study_report.study_sections import build_counts, build_images, build_origin, build_what_was_done
from featx.reports.study_report.summary import summarize
from featx.reports.study_report.training_figures import build_search_section
from featx.specs.recipe import Recipe
from featx.study.study import Study

# Coverage of the prediction sets and intervals in the report.
COVERAGE = 0.9


@dataclass(frozen=True)
class ReportFiles:
    """Files of a report.

    Attributes
    ----------
    report
        Path of the page.
    assets
        Paths of the figures and tables as files; empty unless they were requested.
    cards
        Paths of the model cards of the runs, ``MODEL_CARD.md`` in their folders.
    """

    report: str
    assets: list[str]
    cards: list[str]


def report(
    recipe: str | Path | Recipe | None = None,
    *,
    assets: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> ReportFiles:
    """Write the recipe's ``report.html`` and the model card of each run, and return their paths.

    The test split stays sealed. Test scores are those of the last ``featx evaluate --final``, if there was one.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    assets
        Folder for all figures as PNG and SVG files and all tables as CSV files; None writes none.
    progress
        Callback for the progress of the search for copies, of the pictures and of the assets.

    Raises
    ------
    IncompleteError
        there is no finished run.
    StoreError
        a folder cannot be written to.
    """
    study = Study.open(recipe)
    evaluations = evaluate_study(study, CoverageCheck(COVERAGE), progress=progress)
    targets = [TargetFacts.collect(study, evaluation) for evaluation in evaluations]
    page = _build_page(study, targets, progress)
    path = study.folder / "report.html"
    with _clear_errors(path):
        page.write(path)
    with _clear_errors(study.folder / "*" / MODEL_CARD):
        cards = [card for facts in targets for card in write_model_cards(facts)]
    files: list[Path] = []
    if assets is not None:
        with _clear_errors(Path(assets)):
            files = page.write_assets(Path(assets), progress)
    return ReportFiles(str(path), [*map(str, files)], [*map(str, cards)])


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Raise an error that names the place if it cannot be written to, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_WRITABLE_ERRNOS:
            raise
        raise StoreError(describe_unwritable(path, error)) from error


def _build_page(study: Study, targets: Sequence[TargetFacts], progress: ProgressCallback) -> Page:
    study_leaks = find_leaks(study, progress=progress)
    budget = PictureBudget()
    pairs = [name for pair in select_pairs(study_leaks) for name in (pair.id, pair.copy)]
    budget.reserve(pairs, len(pairs))
    disagreements = [find_disagreements(facts, budget) for facts in targets]
    target_images = choose_images(targets, budget)
    pictures = load_pictures(study, list(budget.ids), progress)
    sections: list[Section | None] = [
        Section("Summary", [sentence for facts in targets for sentence in summarize(facts)]),
        build_what_was_done(study, targets),
    ]
    for facts, images, rows in zip(targets, target_images, disagreements, strict=True):
        inner = [
            build_comparison(facts),
            build_final(facts),
            build_groups(facts),
            build_corruptions(facts),
            build_calibration(facts),
            build_certificates(facts),
            build_influences(facts),
            build_ensembles(facts, rows, pictures),
            build_attacks(facts),
            build_search_section(facts),
            build_run_sections(facts, images, pictures),
            build_counts(facts),
        ]
        sections.append(Section(facts.target, (), [section for section in inner if section is not None]))
    sections += [build_images(study, pictures), build_leaks(study_leaks, pictures), build_origin(targets)]
    return Page(study.recipe.name, _subtitle(study), [section for section in sections if section is not None])


def _subtitle(study: Study) -> str:
    creation_time = datetime.now(UTC).isoformat(timespec="seconds")
    name = commit()
    version = f" at {name[:12]}{' (with changes)' if 'dirty' in name else ''}" if name else ""
    return f"{study.n_images:,} images from {study.recipe.data.source} · created {creation_time}{version}"
