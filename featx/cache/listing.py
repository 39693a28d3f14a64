"""What a cache holds, and for whom."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.errors import StoreError
from featx.specs.recipe import Recipe
from featx.storage.checks import open_store
from featx.storage.shelves import SegmentStore


@dataclass(frozen=True)
class StoreListing:
    """A store.

    Attributes
    ----------
    store
        Its folder's name.
    embedding
        Backbone, tap and pooling.
    n_features, dtype, precision
        Of its vectors.
    n_images, n_rows, n_segments, n_bytes
        Images that it holds, rows (some may stand twice), and what it takes where it lies.
    changed
        When a segment was last added, in UTC.
    recipes
        Those in sight that need it.
    problem
        Why it cannot be opened; empty where it can.
    """

    store: str
    embedding: str
    n_features: int
    dtype: str
    precision: str
    n_images: int
    n_rows: int
    n_segments: int
    n_bytes: int
    changed: str
    recipes: list[str]
    problem: str = ""


def ls(recipe: str | Path | Recipe | None = None, *, cache: str | Path | None = None) -> list[StoreListing]:
    """List the stores of a cache, the largest first.

    Raises
    ------
    DataError
        there is no such cache.
    """
    place = Cache.of(recipe, cache)
    return sorted((_listed(place, store) for store in place.stores()), key=lambda one: -one.n_bytes)


def _listed(place: Cache, store: SegmentStore) -> StoreListing:
    changed = datetime.fromtimestamp(store.changed(), UTC).isoformat(timespec="seconds")
    recipes = sorted(place.needed.get(fingerprint_of(store.name), {}))
    n_bytes = sum(size for _, size in store.files())
    try:
        found = open_store(store.place)
    except StoreError as error:
        return StoreListing(store.name, "", 0, "", "", 0, 0, 0, n_bytes, changed, recipes, str(error))
    spec = found.spec
    return StoreListing(
        store=store.name,
        embedding=f"{spec.backbone}/{spec.tap}/{spec.pool}",
        n_features=found.n_features,
        dtype=spec.dtype,
        precision=str(spec.precision),
        n_images=len(found),
        n_rows=sum(map(len, found.segments)),
        n_segments=len(found.segments),
        n_bytes=n_bytes,
        changed=changed,
        recipes=recipes,
    )
