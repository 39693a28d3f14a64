"""What a page shows of images that have copies in another part."""

from dataclasses import asdict
from typing import Any

from featx.errors import ReadError
from featx.evaluation.leakage import Leaks
from featx.images.contents import read
from featx.images.decode import decode
from featx.reports.figures import thumbnail
from featx.workspace import Study

PAIRS_SHOWN = 12


def shown_pairs(study: Study, found: Leaks) -> list[dict[str, Any]]:
    """Return a few pairs with both pictures, those whose labels differ first, then near ones: nobody doubts exact ones.

    A picture is ``""`` where its image is gone.
    """
    order = sorted(found.pairs, key=lambda pair: (not pair.disagreeing, pair.kind == "exact"))
    chosen = order[:PAIRS_SHOWN]
    ids = list(dict.fromkeys(name for pair in chosen for name in (pair.id, pair.copy)))
    pictures = {name: _picture(study, uri) for name, uri in zip(ids, study.manifest.take(ids).uris, strict=True)}
    return [
        asdict(pair) | {"pictures": [pictures[pair.id], pictures[pair.copy]], "differ": pair.disagreeing}
        for pair in chosen
    ]


def _picture(study: Study, uri: str) -> str:
    try:
        return thumbnail(decode(read(uri), study.recipe.decoding))
    except (ReadError, FileNotFoundError):
        return ""
