"""Encoding of the content of maps: positions and codes of colours as 16-bit numbers, and pictures in one image."""

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.text.sanitising import sanitise_text, sanitise_value

# Largest 16-bit number: the right and the upper end of the map.
MAX_POSITION = 65535
# Number of values of a colouring with a sign and a colour of their own, the most frequent ones: 8 colours × 3 signs.
MAX_VALUES = 24
OTHERS = "others"
MISSING = "none"
# Bytes of the WebP image of all pictures, so that a page stays below 10 MB, and the qualities that are tried in turn.
MAX_ATLAS_BYTES = 4_000_000
ATLAS_QUALITIES = (75, 50, 25, 10)


def encode_map(
    ids: Sequence[str], points: Sequence[tuple[float, float]], colours: Mapping[str, Sequence[str | None]]
) -> dict[str, Any]:
    """Return ids, positions and colours as JSON can hold them.

    Parameters
    ----------
    ids
        n ids, which are shown without control characters and secrets.
    points
        n positions; the range of each axis becomes the width and the height of the map.
    colours
        Name of a colouring → the value of each image; None for no value.
    """
    return {
        "ids": [sanitise_value(image_id) for image_id in ids],
        "points": _base64(_scale(np.asarray(points, dtype=np.float64).reshape(len(ids), 2))),
        "colours": [_encode_colouring(name, values) for name, values in colours.items()],
    }


def _scale(points: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return points (n, 2) on a grid of 65,536 × 65,536; an axis without differences is in the middle."""
    if not len(points):
        return np.zeros((0, 2), dtype=np.uint16)
    low, high = points.min(axis=0), points.max(axis=0)
    shares = np.divide(points - low, high - low, out=np.full(points.shape, 0.5), where=high > low)
    return np.asarray(np.rint(shares * MAX_POSITION), dtype=np.uint16)


def _encode_colouring(name: str, values: Sequence[str | None]) -> dict[str, Any]:
    texts = [MISSING if value is None else value for value in values]
    counts = Counter(texts)
    names = [value for value, _ in counts.most_common()]
    listed_values = names if len(names) <= MAX_VALUES else names[: MAX_VALUES - 1]
    listed_values = sorted(listed_values, key=lambda value: (value == MISSING, value))
    codes_by_value = {value: code for code, value in enumerate(listed_values)}
    codes = np.array([codes_by_value.get(value, len(listed_values)) for value in texts], dtype=np.uint16)
    value_texts = [sanitise_value(value) for value in listed_values] + (
        [OTHERS] if len(names) > len(listed_values) else []
    )
    return {"name": sanitise_text(name), "values": value_texts, "codes": _base64(codes)}


def _base64(numbers: NDArray[np.uint16]) -> str:
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()


def atlas_columns(n: int) -> int:
    """Return the number of columns of the image of n pictures."""
    return math.ceil(math.sqrt(n)) or 1


def make_atlas(pictures: Sequence[bytes | None], tile_px: int) -> str:
    """Return one WebP image of small pictures in rows of square tiles, as a data URI.

    Parameters
    ----------
    pictures
        Encoded pictures; None leaves a tile empty.
    tile_px
        Side of a tile in pixels.
    """
    columns = atlas_columns(len(pictures))
    atlas = Image.new("RGB", (columns * tile_px, math.ceil(len(pictures) / columns) * tile_px or tile_px))
    for number, content in enumerate(pictures):
        if content is not None:
            tile = Image.open(io.BytesIO(content)).convert("RGB").resize((tile_px, tile_px), Image.Resampling.BOX)
            atlas.paste(tile, (number % columns * tile_px, number // columns * tile_px))
    content = b""
    for quality in ATLAS_QUALITIES:
        buffer = io.BytesIO()
        atlas.save(buffer, "WEBP", quality=quality, method=4)
        content = buffer.getvalue()
        if len(content) <= MAX_ATLAS_BYTES:
            break
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
