"""Images without labels, at any depth of a tree."""

from pathlib import Path

import pandas as pd

from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec


class ImageReader:
    """Reads all images of a tree, without labels: for embeddings and predictions."""

    rank = 90

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if it holds images, otherwise None."""
        if labels is not None or not is_tree(source):
            return None
        has_images = not all(entry.outcome for entry in open_tree(source).entries().images)
        return ReaderSpec(source=source, reader="images") if has_images else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all images of the source."""
        tree = open_tree(resolve_source(data.source, folder))
        images = tree.entries().images
        rules = {entry.name: entry.non_image_reason for entry in tree.entries().others}
        return Listing.from_tree(tree, images, pd.DataFrame(index=range(len(images))), rules)
