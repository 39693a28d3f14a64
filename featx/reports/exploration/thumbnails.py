"""Small pictures of explored images, shown only while the images are unchanged."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from featx.errors import ReadError
from featx.exploration.explored_images import ExploredImages
from featx.images.contents import digest
from featx.images.decode import decode
from featx.images.sources import read_content
from featx.reports.page.components import Picture
from featx.reports.pictures import encode_thumbnail

CHANGED = "changed since it was read"
UNREADABLE = "cannot be read any more"


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
            self._pictures[image_id] = self._load(str(self.images.uris[row]), str(self.images.digests[row]))
        return self._pictures[image_id]

    def pictures(self, ids: Iterable[str]) -> list[Picture]:
        """Return the pictures of several images."""
        return [self.picture(image_id) for image_id in ids]

    def _load(self, uri: str, expected_digest: str) -> Picture:
        try:
            content = read_content(uri)
            if digest(content) != expected_digest:
                return Picture(note=CHANGED)
            return Picture(encode_thumbnail(decode(content, self.images.recipe.decoding)))
        except (ReadError, FileNotFoundError):
            return Picture(note=UNREADABLE)
