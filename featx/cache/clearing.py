"""Compact a cache, and remove leftovers of killed writers and embeddings that no known recipe needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.cache.cache_place import Cache
from featx.errors import CorruptError
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage import compaction
from featx.storage.checks import has_valid_header, open_store
from featx.storage.compaction import CompactionResult


def compact(
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    stores: Sequence[str] | str = (),
    progress: ProgressCallback = no_progress,
) -> list[CompactionResult]:
    """Join the small segments of a cache's stores, and those that hold the same images, while others read and write.

    Parameters
    ----------
    recipe
        The recipe whose cache it is; by default that of the working directory.
    cache
        Another folder or URL.
    stores
        Beginnings of the names of some stores; all by default.
    progress
        Called after each new segment.

    Raises
    ------
    DataError
        there is no such cache or store.
    CorruptError
        a row does not match its checksum; that store is left as it is, the others are joined.
    """
    results: list[CompactionResult] = []
    errors: list[CorruptError] = []
    for store in Cache.find(recipe, cache).stores(stores):
        try:
            results.append(compaction.compact(open_store(store.place), progress))
        except CorruptError as error:
            errors.append(error)
    if errors and results:
        n_stores = len(errors) + len(results)
        raise CorruptError(
            f"{errors[0]} ({len(errors)} of {n_stores} stores were left unchanged, the others compacted)"
        )
    if errors:
        raise errors[0]
    return results


@dataclass(frozen=True)
class ClearingResult:
    """The files and stores that nobody needs any more.

    Attributes
    ----------
    leftovers
        Names of the leftovers of killed writers.
    unneeded
        Names of the stores that no known recipe needs.
    invalid_stores
        Names of folders ``*.zarr`` that no known recipe needs and that are not removed, because they have no valid
        header of featx: other software or a newer featx wrote them, or they are damaged.
    n_bytes
        Total size of `leftovers` and `unneeded` in bytes.
    is_removed
        Whether these were removed; unneeded stores are removed only with the caller's agreement.
    n_recipes
        Number of known recipes and models.
    """

    leftovers: list[str]
    unneeded: list[str]
    invalid_stores: list[str]
    n_bytes: int
    is_removed: bool
    n_recipes: int


def gc(
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    dry_run: bool = False,
    agree: Callable[[list[str]], bool] = lambda _: True,
) -> ClearingResult:
    """Remove what killed writers left in a cache, and the stores that no known recipe needs.

    Parameters
    ----------
    recipe
        The recipe whose cache it is; by default that of the working directory.
    cache
        Another folder or URL.
    dry_run
        Whether to only report what would be removed.
    agree
        Called with the names of the unneeded stores before they are removed; returns whether to remove them.

    Raises
    ------
    DataError
        there is no such cache.

    Notes
    -----
    Files of a live writer are never touched (`featx.storage.leases`), nor the stores that an extraction or a training
    fills, which it records before. If no recipe is known, no store is removed. A folder whose name ends in ``.zarr`` is
    never removed if it has no valid header of featx.
    """
    place = Cache.find(recipe, cache)
    candidates = [store for store in place.stores() if place.is_unneeded(store)]
    unneeded_stores = [store for store in candidates if has_valid_header(store)]
    invalid_stores = sorted({store.name for store in candidates} - {store.name for store in unneeded_stores})
    leftovers = place.all_stores.leftovers()
    is_removed = not dry_run and (not unneeded_stores or agree([store.name for store in unneeded_stores]))
    if is_removed:
        # An extraction may have begun to fill one of them before the caller agreed.
        current_place = Cache.find(recipe, cache)
        unneeded_stores = [store for store in unneeded_stores if current_place.is_unneeded(store)]
    n_bytes = sum(leftover.n_bytes for leftover in leftovers)
    n_bytes += sum(size for store in unneeded_stores for _, size in store.file_sizes())
    for leftover in leftovers if not dry_run else []:
        leftover.remove()
    for store in unneeded_stores if is_removed else []:
        store.remove()
    owners = {owner for embeddings in place.needed.values() for owner in embeddings}
    return ClearingResult(
        [leftover.name for leftover in leftovers],
        [store.name for store in unneeded_stores],
        invalid_stores,
        n_bytes,
        is_removed,
        len(owners),
    )
