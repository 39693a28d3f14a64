"""What a page shows of images that have copies in another part."""

from dataclasses import asdict
from typing import Any

from featx.evaluation.leaks import Leaks
from featx.reports.pictures import pictures
from featx.study.study import Study

PAIRS_SHOWN = 12


def shown_pairs(study: Study, found: Leaks) -> list[dict[str, Any]]:
    """Return a few pairs with both pictures, those whose labels differ first, then near ones: nobody doubts exact ones.

    `Picture.note` says why an image has no picture.
    """
    order = sorted(found.pairs, key=lambda pair: (not pair.disagreeing, pair.kind == "exact"))
    chosen = order[:PAIRS_SHOWN]
    ids = list(dict.fromkeys(name for pair in chosen for name in (pair.id, pair.copy)))
    shown = pictures(study, ids)
    return [
        asdict(pair) | {"pictures": [shown[pair.id], shown[pair.copy]], "differ": pair.disagreeing} for pair in chosen
    ]
