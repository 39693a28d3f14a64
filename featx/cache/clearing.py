"""What nobody needs any more: files of writers that died, joined segments, embeddings of no recipe in sight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.cache.cache_place import Cache
from featx.errors import CorruptError
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage import compaction
from featx.storage.checks import open_store
from featx.storage.compaction import CompactionResult


def compact(
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    stores: Sequence[str] = (),
    progress: ProgressCallback = no_progress,
) -> list[CompactionResult]:
    """Join the small segments of a cache's stores, and those that hold an image twice; others may read and write.

    Raises
    ------
    DataError
        there is no such cache or store.
    CorruptError
        a row does not match its checksum; that store is left as it is, the others are joined.
    """
    found: list[CompactionResult] = []
    broken: list[CorruptError] = []
    for shelf in Cache.of(recipe, cache).stores(stores):
        try:
            found.append(compaction.compact(open_store(shelf.place), progress))
        except CorruptError as error:
            broken.append(error)
    if broken and found:
        raise CorruptError(
            f"{broken[0]} ({len(broken)} of {len(broken) + len(found)} stores were left as they are, the others joined)"
        )
    if broken:
        raise broken[0]
    return found


@dataclass(frozen=True)
class ClearingResult:
    """What was in the way.

    Attributes
    ----------
    leftovers
        Of writers that died.
    unneeded
        Stores that no recipe in sight needs.
    n_bytes
        What all of it takes.
    is_removed
        Whether it was removed; the unneeded ones only where that was agreed to.
    n_recipes
        In sight.
    """

    leftovers: list[str]
    unneeded: list[str]
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
    """Remove what dead writers left in a cache, and the stores that no recipe in sight needs.

    Parameters
    ----------
    dry_run
        Only say what would be removed.
    agree
        Asked before stores are removed, with their names.

    Raises
    ------
    DataError
        there is no such cache.

    Notes
    -----
    What a live writer is at is never touched (`featx.storage.leases`). Where no recipe is in sight, no store is
    removed.
    """
    place = Cache.of(recipe, cache)
    unneeded = [store for store in place.stores() if place.holds_unneeded(store)]
    dead = place.everything.leftovers()
    n_bytes = sum(one.n_bytes for one in dead) + sum(size for store in unneeded for _, size in store.files())
    removed = not dry_run
    if removed:
        for one in dead:
            one.remove()
        removed = not unneeded or agree([store.name for store in unneeded])
        for store in unneeded if removed else []:
            store.remove()
    owners = {owner for known in place.needed.values() for owner in known}
    return ClearingResult([one.name for one in dead], [one.name for one in unneeded], n_bytes, removed, len(owners))
