"""Images without labels, at any depth of a tree."""

from pathlib import Path

import pandas as pd

from featx.images.names import is_image_name, non_image_rule
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
        has_images = any(not entry.outcome and is_image_name(entry.name) for entry in open_tree(source).entries())
        return ReaderSpec(source=source, reader="images") if has_images else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all images of the source."""
        tree = open_tree(resolve_source(data.source, folder))
        images = [entry for entry in tree.entries() if entry.outcome != "ignored" and is_image_name(entry.name)]
        ignored = {
            tree.prefix + entry.name: entry.reason or non_image_rule(entry.name)
            for entry in tree.entries()
            if entry.outcome == "ignored" or not is_image_name(entry.name)
        }
        labels = pd.DataFrame(index=range(len(images)))
        return Listing.from_entries(images, labels, ignored, [tree.prefix + entry.name for entry in images])
