"""Contents of a source: images, files that are no images, labels, and what could not be read."""

from typing import Any

import pandas as pd

from featx.exploration.analysis import AnalysisResult, Highlight, count_text
from featx.exploration.explored_images import ExploredImages
from featx.progress import ProgressCallback


def analyse_recognition(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the numbers of images and files, the targets, and the images that could not be read."""
    unreadable_files = pd.DataFrame(
        {"id": list(images.unreadable), "reason": list(images.unreadable.values())}, dtype=object
    )
    ignored = pd.DataFrame({"rule": list(images.ignored), "n_files": list(images.ignored.values())})
    data = images.recipe.data
    facts: dict[str, Any] = {
        "source": data.source,
        "reader": data.reader_name,
        "n_images": len(images),
        "n_found": images.n_found,
        "n_unreadable": len(unreadable_files),
        "n_ignored": int(ignored["n_files"].sum()),
        "targets": {name: {"kind": truth.kind, "n_labelled": len(truth.ids)} for name, truth in images.truths.items()},
        "label_problem": images.label_problem,
        "choice": list(images.recognition.choice) if images.recognition else [],
        "warnings": list(images.recognition.warnings) if images.recognition else [],
    }
    return AnalysisResult(
        {"unreadable": unreadable_files, "ignored": ignored}, facts, _highlights(images), images.notes
    )


def _highlights(images: ExploredImages) -> tuple[Highlight, ...]:
    highlights = []
    if images.unreadable:
        name, reason = next(iter(images.unreadable.items()))
        highlights.append(
            Highlight(f"{count_text(len(images.unreadable), 'image')} cannot be used, first {name!r}: {reason}", rank=1)
        )
    if images.label_problem:
        highlights.append(Highlight(f"labels: {images.label_problem}", rank=1))
    return tuple(highlights)
