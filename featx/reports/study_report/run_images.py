"""Images that the report shows for each run: some of each cell of a confusion matrix, and a gallery of predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featx.reports.page.components import Gallery, GalleryItem, Picture
from featx.reports.study_report.facts import RunFacts, TargetFacts
from featx.tables.ids import Floats, Kind

# Number of different pictures on a page. A small JPEG takes about 5 kB, so that all of them take about 2.5 MB.
MAX_PICTURES = 500
# Number of new pictures in the confusion matrices and in the galleries of the chosen runs of all targets.
MAX_CELL_PICTURES, MAX_GALLERY_PICTURES = 220, 60
# Number of images in a cell of the confusion matrix of the chosen run, and of each other run.
MAX_CHOSEN_CELL_IMAGES, MAX_CELL_IMAGES = 8, 2
# Number of images of each kind in the gallery of the chosen run, and of each other run.
MAX_CHOSEN_GALLERY_IMAGES, MAX_GALLERY_IMAGES = 16, 4
MISTAKE, UNSURE, RIGHT = "most confident mistakes", "least sure", "right"
LARGEST, SMALLEST = "largest errors", "smallest errors"
# Number of labels that a line of an image names.
MAX_NAMED_LABELS = 6


@dataclass
class PictureBudget:
    """The images whose pictures are on a page; each is loaded once, however often it is shown.

    Attributes
    ----------
    max_pictures
        Largest number of images on the page.
    ids
        Ids of the shown images, in order.
    """

    max_pictures: int = MAX_PICTURES
    ids: dict[str, None] = field(default_factory=dict)

    def reserve(self, ids: Iterable[str], max_new: int) -> set[str]:
        """Add images to the page, in order and at most `max_new` new ones; return the ids of those that it shows."""
        shown_ids, n_new = set(), 0
        for name in ids:
            is_new = name not in self.ids
            if is_new and (n_new >= max_new or len(self.ids) >= self.max_pictures):
                continue
            n_new += is_new
            self.ids[name] = None
            shown_ids.add(name)
        return shown_ids


@dataclass(frozen=True)
class ShownImages:
    """Positions of the rows of a run whose images are shown.

    Attributes
    ----------
    cells
        (true, predicted) → rows of this cell of the confusion matrix, the most confident ones first.
    gallery
        Row → reason why it is in the gallery.
    """

    cells: Mapping[tuple[int, int], Sequence[int]]
    gallery: Mapping[int, str]


def choose_images(targets: Sequence[TargetFacts], budget: PictureBudget) -> list[dict[str, ShownImages]]:
    """Return the images of each run of each target by its name; the chosen runs come first, all others share the rest.

    Parameters
    ----------
    budget
        Pictures of the page, to which those of these targets are added.
    """
    max_cells, max_gallery = MAX_CELL_PICTURES // len(targets), MAX_GALLERY_PICTURES // len(targets)
    target_images = [{facts.chosen.name: _choose(facts.chosen, budget, max_cells, max_gallery)} for facts in targets]
    n_others = sum(len(facts.runs) - 1 for facts in targets)
    share = (budget.max_pictures - len(budget.ids)) // max(2 * n_others, 1)
    for facts, images in zip(targets, target_images, strict=True):
        images |= {run.name: _choose(run, budget, share, share) for run in facts.runs if not run.is_chosen}
    return target_images


def _choose(run: RunFacts, budget: PictureBudget, max_cells: int, max_gallery: int) -> ShownImages:
    gallery = _gallery_rows(run)
    shown_ids = budget.reserve(run.ids[list(gallery)], max_gallery)
    gallery = {row: reason for row, reason in gallery.items() if run.ids[row] in shown_ids}
    if run.targets.kind != "classes":
        return ShownImages({}, gallery)
    cells = _cell_rows(run)
    # Each cell gets one image before a cell gets its second, mistakes before right predictions.
    largest = max(map(len, cells.values()), default=0)
    order = [rows[position] for position in range(largest) for rows in cells.values() if position < len(rows)]
    shown_ids = budget.reserve(run.ids[order], max_cells)
    shown_cells = {cell: [row for row in rows if run.ids[row] in shown_ids] for cell, rows in cells.items()}
    return ShownImages({cell: rows for cell, rows in shown_cells.items() if rows}, gallery)


def _cell_rows(run: RunFacts) -> dict[tuple[int, int], list[int]]:
    """Return the first rows of each cell, the most confident ones first; cells with many mistakes come first."""
    true, predicted, certainty = run.targets.y, run.targets.decisions(run.outputs), certainties(run)
    limit = MAX_CHOSEN_CELL_IMAGES if run.is_chosen else MAX_CELL_IMAGES
    rows_by_cell: dict[tuple[int, int], list[int]] = {}
    for row in np.argsort(-certainty, kind="stable").tolist():
        rows_by_cell.setdefault((int(true[row]), int(predicted[row])), []).append(row)
    cells = sorted(rows_by_cell, key=lambda cell: (cell[0] == cell[1], -len(rows_by_cell[cell]), cell))
    return {cell: rows_by_cell[cell][:limit] for cell in cells}


def certainties(run: RunFacts) -> Floats:
    """Return (n,) probabilities of the decisions: of the predicted class, or the mean over all labels."""
    if run.targets.kind == "labels":
        return np.asarray(np.maximum(run.outputs, 1 - run.outputs).mean(1))
    return np.asarray(run.outputs[np.arange(len(run.ids)), run.targets.decisions(run.outputs)])


def _gallery_rows(run: RunFacts) -> dict[int, str]:
    """Return the rows of the gallery and why they are shown; a row that fits several reasons has the first one."""
    limit = MAX_CHOSEN_GALLERY_IMAGES if run.is_chosen else MAX_GALLERY_IMAGES
    if run.targets.kind == "numbers":
        error_order = np.argsort(run.targets.errors(run.outputs), kind="stable")
        rows_by_reason = {LARGEST: error_order[::-1], SMALLEST: error_order}
    else:
        certainty_order = np.argsort(-certainties(run), kind="stable")
        is_right = are_right(run)
        correct_rows = certainty_order[is_right[certainty_order]]
        # Right predictions from the most to the least certain one, so that not only easy images are shown.
        sampled_rows = correct_rows[np.linspace(0, len(correct_rows) - 1, min(limit, len(correct_rows))).astype(int)]
        rows_by_reason = {
            MISTAKE: certainty_order[~is_right[certainty_order]],
            UNSURE: certainty_order[::-1],
            RIGHT: sampled_rows,
        }
    reasons: dict[int, str] = {}
    for reason, rows in rows_by_reason.items():
        new_rows = [row for row in rows.tolist() if row not in reasons][:limit]
        reasons |= dict.fromkeys(new_rows, reason)
    return reasons


def are_right(run: RunFacts) -> NDArray[np.bool_]:
    """Return (n,) whether predictions are right; of several labels, whether all are."""
    is_right = run.targets.are_right(run.outputs)
    return is_right if is_right.ndim == 1 else np.asarray(is_right.all(1))


def build_gallery(
    facts: TargetFacts, run: RunFacts, shown_images: ShownImages, pictures: Mapping[str, Picture]
) -> Gallery:
    """Return the gallery of a run, which the reader can filter by the reason, the true and the predicted class."""
    items = [image_item(run, row, pictures, {"shown": reason}) for row, reason in shown_images.gallery.items()]
    caption = f"{len(items)} of {len(run.ids):,} images, with the true and the predicted value."
    return Gallery(facts.component_name(run.name, "gallery"), caption, items)


def cell_items(
    run: RunFacts, shown_images: ShownImages, pictures: Mapping[str, Picture]
) -> dict[tuple[int, int], list[GalleryItem]]:
    """Return the images of the cells of a confusion matrix."""
    return {cell: [image_item(run, row, pictures) for row in rows] for cell, rows in shown_images.cells.items()}


def image_item(
    run: RunFacts, row: int, pictures: Mapping[str, Picture], tags: Mapping[str, str] | None = None
) -> GalleryItem:
    """Return one image with its true and its predicted value; the gallery's tags are added to `tags`."""
    lines, own_tags = DESCRIPTIONS[run.targets.kind](run, row)
    name = str(run.ids[row])
    return GalleryItem(name, [pictures[name]], lines, {} if tags is None else {**tags, **own_tags})


Description = tuple[list[str], dict[str, str]]


def _describe_class(run: RunFacts, row: int) -> Description:
    names = run.targets.names
    true = names[int(run.targets.y[row])]
    code = int(run.targets.decisions(run.outputs[row : row + 1])[0])
    lines = [f"true: {true}", f"predicted: {names[code]} ({run.outputs[row, code]:.2f})"]
    return lines, {"true class": true, "predicted class": names[code]}


def _describe_labels(run: RunFacts, row: int) -> Description:
    names, proba = run.targets.names, run.outputs[row]
    true = [name for name, is_present in zip(names, run.targets.y[row], strict=True) if is_present]
    decisions = run.targets.decisions(run.outputs[row : row + 1])[0]
    predicted = [f"{name} ({p:.2f})" for name, p, is_present in zip(names, proba, decisions, strict=True) if is_present]
    return [f"true: {_listed(true)}", f"predicted: {_listed(predicted)}"], {}


def _listed(names: Sequence[str]) -> str:
    shown_names, n_others = names[:MAX_NAMED_LABELS], max(len(names) - MAX_NAMED_LABELS, 0)
    return (", ".join(shown_names) + (f" and {n_others} more" if n_others else "")) or "none"


def _describe_numbers(run: RunFacts, row: int) -> Description:
    pairs = zip(run.targets.names, run.targets.y[row].tolist(), run.outputs[row].tolist(), strict=True)
    return [f"{name}: true {true:.4g}, predicted {predicted:.4g}" for name, true, predicted in pairs], {}


DESCRIPTIONS: dict[Kind, Callable[[RunFacts, int], Description]] = {
    "classes": _describe_class,
    "labels": _describe_labels,
    "numbers": _describe_numbers,
}
