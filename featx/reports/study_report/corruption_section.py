"""Scores on corrupted images: all runs, each kind of corruption, consistency under shifts, texture against shape."""

from typing import Any

import numpy as np
from PIL import Image

from featx.errors import DataError
from featx.metrics.score_texts import ScoreFormat
from featx.registry import CORRUPTIONS
from featx.reports.page.components import (
    Column,
    Component,
    Details,
    Gallery,
    GalleryItem,
    Picture,
    Section,
    Table,
    Text,
)
from featx.reports.pictures import encode_thumbnail
from featx.reports.study_report.corruption_figures import plot_kinds_by_run, plot_severities, plot_texture_and_shape
from featx.reports.study_report.facts import TargetFacts, interval_text, score_name
from featx.robustness.corrupted_pictures import CorruptingDecoder, reduce_picture
from featx.robustness.corruption_record import read_corruptions
from featx.robustness.corruption_results import EDGES, PATCH_SHUFFLE, SHUFFLED_GRIDS, CorruptedRun, CorruptionResults
from featx.robustness.sampled_rows import read_picture
from featx.specs.corrupting import PROBE, kinds_in

# Severities of the corruptions in the example images; the first picture of an item is the largest one.
SHOWN_SEVERITIES = (3, 1, 5)
# Grid of shuffled patches whose column is shown at first, as in the terminal.
SHOWN_GRID = 4


def build_corruptions(facts: TargetFacts) -> Section | None:
    """Return the section about corrupted images; None if no results fit the current images, labels and runs."""
    results = read_corruptions(facts.study, facts.target)
    if results is None:
        return None
    components: list[Component] = [Text(_note(facts, results), "note"), _run_table(facts, results)]
    components += [Text(f"{problem}.", "warning") for problem in results.problems]
    if results.runs[0].cells:
        components += [
            plot_kinds_by_run(facts.component_name("corruptions-by-run"), results),
            plot_severities(facts.component_name("corruptions-by-severity"), results, results.runs[0]),
            Details("Each kind of corruption as a table", [_kind_table(facts, results)]),
        ]
    if results.runs[0].probe_scores(PATCH_SHUFFLE):
        components.append(plot_texture_and_shape(facts.component_name("texture-and-shape"), results))
    components.append(Details("Examples of the corruptions", [_examples(facts, results)]))
    return Section("Corrupted images", components)


def _note(facts: TargetFacts, results: CorruptionResults) -> str:
    n_others = len(facts.runs) - len(results.runs)
    omission_note = f" Not evaluated, or changed since: {n_others} of {len(facts.runs)} runs." if n_others else ""
    return (
        f"{len(results.ids):,} of {results.n_rows:,} {results.part} images with several kinds of corruptions at "
        f"several severities, the same pixels for all runs.{omission_note}"
    )


def _run_table(facts: TargetFacts, results: CorruptionResults) -> Table:
    score, score_format = score_name(results.score), results.score_format
    columns = [
        Column("run"),
        Column(f"{score} on originals", score_format.value),
        Column(f"{score} on corrupted", score_format.value, "Mean over kinds of the mean over severities."),
        Column("95 % interval"),
        Column("mCE", ".3f", "Mean corruption error: errors divided by those of the reference, mean over kinds."),
        Column("relative mCE", ".3f", "The same for the errors beyond those on the original images."),
        Column("stays under 4 shifts", ".3f", "Share of images with the same decision under shifts by one pixel."),
        Column("stays under 8 shifts", ".3f", "The same with the diagonals."),
        Column("change by shifts", ".4g", "Mean over images of the largest change of a number by one pixel."),
        *(Column(f"shuffled {n} × {n}", score_format.value, is_shown=n == SHOWN_GRID) for n in SHUFFLED_GRIDS),
        Column("edges", score_format.value, f"{score} on edges in black on white."),
    ]
    rows = [_run_cells(run, score_format) for run in results.runs]
    filled_positions = [position for position in range(len(columns)) if any(row[position] is not None for row in rows)]
    reference = next((run.label for run in results.runs if run.run == results.reference), None)
    caption = f"Runs on corrupted images{'' if reference is None else f'; the reference of mCE is {reference}'}."
    return Table(
        facts.component_name("corrupted"),
        caption,
        [columns[position] for position in filled_positions],
        [[row[position] for position in filled_positions] for row in rows],
    )


def _run_cells(run: CorruptedRun, score_format: ScoreFormat) -> list[Any]:
    errors, shifts = run.errors, run.consistency
    shuffle_scores: list[float | None] = [*run.probe_scores(PATCH_SHUFFLE)]
    edges = run.probe_scores(EDGES)
    return [
        run.label,
        run.original.score,
        run.mean,
        None if run.interval is None else interval_text(run.interval, score_format.edge),
        *((None, None) if errors is None else (errors.mean, errors.relative)),
        *((None, None, None) if shifts is None else (shifts.share_4, shifts.share_8, shifts.largest_change)),
        *(shuffle_scores or [None] * len(SHUFFLED_GRIDS)),
        edges[0] if edges else None,
    ]


def _kind_table(facts: TargetFacts, results: CorruptionResults) -> Table:
    columns = [Column("kind"), *(Column(run.label, results.score_format.value) for run in results.runs)]
    rows = [[kind, *(run.by_kind[kind] for run in results.runs)] for kind in results.score_drop_by_kind]
    caption = f"Mean {score_name(results.score)} over severities under each kind, the most harmful kind first."
    return Table(facts.component_name("corruptions-by-kind"), caption, columns, rows)


def _examples(facts: TargetFacts, results: CorruptionResults) -> Component:
    """Return the first image under each kind of corruption, at some severities, or why there are no examples."""
    image_id = results.ids[0]
    image = facts.study.manifest.take(np.array([image_id], dtype=object))
    try:
        picture = read_picture(image_id, image.uris[0], image.digests[0], facts.study.recipe.decoding)
    except DataError as error:
        return Text(f"No examples: {error}.", "note")
    pixels, digest = reduce_picture(picture), str(image.digests[0])
    names = dict.fromkeys(cell.kind for cell in (*results.runs[0].cells, *results.runs[0].probes))
    items = [GalleryItem("original", [Picture(encode_thumbnail(picture))], [], {"group": "original"})]
    for kind in kinds_in(names):
        corruption = CORRUPTIONS.get(kind)
        severities = [n for n in SHOWN_SEVERITIES if n in corruption.severities]
        corrupted_images = [
            CorruptingDecoder(corruption, kind, severity).corrupt(pixels, digest) for severity in severities
        ]
        pictures = [Picture(encode_thumbnail(Image.fromarray(values))) for values in corrupted_images]
        lines = [] if corruption.family == PROBE else [f"severity {', '.join(map(str, severities))}"]
        items.append(GalleryItem(kind, pictures, lines, {"group": corruption.family}))
    caption = f"Image {image_id} with each kind of corruption."
    return Gallery(facts.component_name("corruption-examples"), caption, items)
