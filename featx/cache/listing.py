"""List the stores of a cache and the recipes that need them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.errors import StoreError
from featx.specs.recipe import Recipe
from featx.storage.checks import open_store
from featx.storage.segment_store import SegmentStore


@dataclass(frozen=True)
class StoreListing:
    """The properties of one store.

    Attributes
    ----------
    store
        Name of its folder.
    embedding
        Backbone, tap and pooling.
    n_features, dtype, precision
        d, data type and precision of its vectors.
    n_images
        Number of its images.
    n_rows
        Number of its rows; some images may be stored twice.
    n_segments
        Number of its segments.
    n_bytes
        Size of all its files in bytes.
    changed
        Time in UTC at which a segment was last added.
    recipes
        The known recipes and models that need it.
    problem
        The reason why it cannot be opened; empty where it can.
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

    Parameters
    ----------
    recipe
        The recipe whose cache it is; by default that of the working directory.
    cache
        Another folder or URL.

    Raises
    ------
    DataError
        there is no such cache.
    """
    place = Cache.find(recipe, cache)
    listings = (_describe(place, store) for store in place.stores())
    return sorted(listings, key=lambda listing: -listing.n_bytes)


def _describe(place: Cache, store: SegmentStore) -> StoreListing:
    modified_time = datetime.fromtimestamp(store.modified_s(), UTC).isoformat(timespec="seconds")
    recipes = sorted(place.needed.get(fingerprint_of(store.name), {}))
    n_bytes = sum(size for _, size in store.file_sizes())
    try:
        embeddings = open_store(store.place)
    except StoreError as error:
        return StoreListing(store.name, "", 0, "", "", 0, 0, 0, n_bytes, modified_time, recipes, str(error))
    spec = embeddings.spec
    return StoreListing(
        store=store.name,
        embedding=spec.name,
        n_features=embeddings.n_features,
        dtype=spec.dtype,
        precision=str(spec.precision),
        n_images=len(embeddings),
        n_rows=sum(map(len, embeddings.segments)),
        n_segments=len(embeddings.segments),
        n_bytes=n_bytes,
        changed=modified_time,
        recipes=recipes,
    )
