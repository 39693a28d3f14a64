"""Measured properties of images, cached by digest, so that each image is measured once."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from featx.exploration.image_properties import COLUMNS, MEASURED_PX, NUMBER_COLUMNS, PROPERTIES_VERSION, TILE_PX
from featx.images.sqlite_cache import SqliteCache
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding

Row = tuple[str, tuple[str | float, ...], bytes]  # digest, values of `COLUMNS`, tile


class PropertyCache(SqliteCache):
    """A SQLite cache of properties and small pictures by digest, which several processes may write at the same time.

    Parameters
    ----------
    path
        Path of the database, which is created if there is none.
    decoding
        Choices of the decoder, on which the pixels depend.
    """

    def __init__(self, path: Path, decoding: Decoding) -> None:
        columns = "(made_by TEXT, digest TEXT, properties TEXT, tile BLOB, PRIMARY KEY (made_by, digest))"
        super().__init__(path, f"properties {columns}")
        self._made_by = fingerprint([PROPERTIES_VERSION, list(COLUMNS), MEASURED_PX, TILE_PX, decoding.identity()])

    def known(self, digests: Sequence[str]) -> tuple[pd.DataFrame, dict[str, bytes]]:
        """Return the properties in the cache, indexed by digest, and the small pictures by digest."""
        query = (
            "SELECT digest, properties, tile FROM json_each(?) CROSS JOIN properties ON digest = value AND made_by = ?"
        )
        rows: dict[str, list[str | float]] = {}
        tiles: dict[str, bytes] = {}
        for digest, properties, tile in self._rows_by_digest(query, digests, self._made_by):
            rows[digest], tiles[digest] = json.loads(properties), tile
        return properties_frame(rows), tiles

    def remember(self, rows: Iterable[Row]) -> None:
        """Write the properties of some images."""
        values = [(self._made_by, digest, json.dumps(properties), tile) for digest, properties, tile in rows]
        self._write("INSERT OR REPLACE INTO properties VALUES (?, ?, ?, ?)", values)


def properties_frame(rows: "dict[str, list[str | float]]") -> pd.DataFrame:
    """Return a frame with the columns `COLUMNS`, indexed by digest."""
    frame = pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), dtype=object), columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(NUMBER_COLUMNS, "float64"))
