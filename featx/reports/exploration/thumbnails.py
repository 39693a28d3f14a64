"""Small pictures of explored images, shown only while the images are unchanged."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from featx.exploration.explored_images import ExploredImages
from featx.reports.page.components import Picture
from featx.reports.pictures import load_picture


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of explored images, each decoded once.

    Attributes
    ----------
    images
        The explored images.
    """

    images: ExploredImages
    _pictures: dict[str, Picture] = field(default_factory=dict)

    def picture(self, image_id: str) -> Picture:
        """Return the picture of an image, or the reason why there is none."""
        if image_id not in self._pictures:
            row = self.images.rows([image_id])[0]
            uri, digest = str(self.images.uris[row]), str(self.images.digests[row])
            self._pictures[image_id] = load_picture(uri, digest, self.images.recipe.decoding)
        return self._pictures[image_id]

    def pictures(self, ids: Iterable[str]) -> list[Picture]:
        """Return the pictures of several images."""
        return [self.picture(image_id) for image_id in ids]
