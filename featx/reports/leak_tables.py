"""Pairs of images with copies in another part, as the report shows them."""

from dataclasses import asdict
from typing import Any

from featx.evaluation.leaks import Leaks
from featx.reports.pictures import load_pictures
from featx.study.study import Study

MAX_SHOWN_PAIRS = 12


def select_pairs(study: Study, leaks: Leaks) -> list[dict[str, Any]]:
    """Return some pairs with both pictures: those whose labels differ, then near copies, then exact ones.

    `Picture.note` is the reason why an image has no picture.
    """
    ordered = sorted(leaks.pairs, key=lambda pair: (not pair.disagreeing, pair.kind == "exact"))
    pairs = ordered[:MAX_SHOWN_PAIRS]
    ids = list(dict.fromkeys(name for pair in pairs for name in (pair.id, pair.copy)))
    by_id = load_pictures(study, ids)
    return [
        asdict(pair) | {"pictures": [by_id[pair.id], by_id[pair.copy]], "differ": pair.disagreeing} for pair in pairs
    ]
