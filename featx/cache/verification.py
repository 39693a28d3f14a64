"""Compare all checksums of a cache, and repair it: only broken rows are embedded again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.embeddings.extract import extract
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage.checks import StoreCheck, check_store, open_store, repair_store, restore_header
from featx.storage.store import segment_store_at


@dataclass(frozen=True)
class VerificationResult(StoreCheck):
    """A store after all its checksums were compared, and its repair.

    Attributes
    ----------
    lost_ids
        Ids of the images whose rows are broken, or their digests where no known recipe contains them.
    n_embedded
        Number of these images that were embedded again.
    """

    lost_ids: list[str] = field(default_factory=list)
    n_embedded: int = 0

    @property
    def n_lost(self) -> int:
        """Number of broken rows."""
        return sum(damage.n_lost for damage in self.damages)


def verify(
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    stores: Sequence[str] = (),
    repair: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[VerificationResult]:
    """Compare all checksums of a cache.

    Parameters
    ----------
    recipe
        The recipe whose cache it is; `repair` embeds its lost rows again.
    cache
        Another folder or URL.
    stores
        Beginnings of the names of some stores; all by default.
    repair
        Whether to write damaged segments again without their broken rows, and to embed these from their images.
    progress
        Called after each segment.

    Raises
    ------
    DataError
        there is no such cache or store.
    """
    place = Cache.find(recipe, cache)
    results = []
    for store in place.stores(stores):
        check = check_store(store.place, progress)
        lost_ids = [place.image_ids.get(digest, digest) for digest in _lost_digests(check)]
        results.append(VerificationResult(**vars(check), lost_ids=lost_ids))
    if repair:
        for result in results:
            _repair(place, result)
        if place.recipe is not None and any(not result.is_whole for result in results):
            extract(place.recipe, progress=progress)
        results = [_count_embedded(result) for result in results]
    return results


def _lost_digests(check: StoreCheck) -> list[str]:
    return [digest for damage in check.damages for digest in damage.lost]


def _repair(place: Cache, result: VerificationResult) -> None:
    embeddings = place.needed.get(fingerprint_of(segment_store_at(result.store).name)) if result.problem else None
    if embeddings:
        restore_header(result.store, next(iter(embeddings.values())))
    if not result.is_whole:
        repair_store(result.store)


def _count_embedded(result: VerificationResult) -> VerificationResult:
    """Count the lost rows that a repaired store holds again."""
    if result.is_whole:
        return result
    lost_digests = _lost_digests(result)
    return replace(result, n_embedded=len(lost_digests) - len(open_store(result.store).missing(lost_digests)))
