"""Compare all checksums of a cache, and repair it: only broken rows are embedded again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.embeddings.lost_rows import embed_lost_rows
from featx.errors import IncompleteError, StoreError, UnreachableError
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage.checks import StoreCheck, check_store, open_store, repair_store, restore_header
from featx.storage.store import segment_store_at
from featx.study.study import Study


@dataclass(frozen=True)
class VerificationResult(StoreCheck):
    """A store after all its checksums were compared, and its repair.

    Attributes
    ----------
    lost_ids
        Ids of the images whose rows are broken, or their digests where no known recipe contains them.
    n_embedded
        Number of these images that were embedded again.
    repair_problem
        The reason why the store could not be repaired; empty if it could, or was not to be repaired.
    """

    lost_ids: list[str] = field(default_factory=list)
    n_embedded: int = 0
    repair_problem: str = ""

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
        The recipe whose cache it is; `repair` embeds its lost rows again, also in another cache.
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
    if not repair:
        return results
    results = [_repair(place, result) for result in results]
    if place.recipe is not None:
        # The rows that stay lost are counted; the message says to run 'featx extract'.
        with suppress(IncompleteError):
            embed_lost_rows(Study(place.recipe), place.place, _group_lost_digests(results), progress)
    return [_count_embedded(result) for result in results]


def _lost_digests(check: StoreCheck) -> list[str]:
    return [digest for damage in check.damages for digest in damage.lost]


def _group_lost_digests(results: Sequence[VerificationResult]) -> dict[str, set[str] | None]:
    """Return the digests of the lost rows by the fingerprint of the embedding; None where they are not known."""
    lost: dict[str, set[str] | None] = {}
    for result in results:
        if result.is_whole or result.repair_problem:
            continue
        # A store without a valid header was not examined.
        is_known = not result.problem and all(damage.lists_all for damage in result.damages)
        fingerprint = fingerprint_of(segment_store_at(result.store).name)
        lost[fingerprint] = set(_lost_digests(result)) if is_known else None
    return lost


def _repair(place: Cache, result: VerificationResult) -> VerificationResult:
    """Repair a store; one that cannot be opened does not stop the repair of the others."""
    if result.is_whole:
        return result
    embeddings = place.needed.get(fingerprint_of(segment_store_at(result.store).name)) if result.problem else None
    try:
        if embeddings:
            restore_header(result.store, next(iter(embeddings.values())))
        repair_store(result.store)
    except UnreachableError:
        raise
    except StoreError as error:
        return replace(result, repair_problem=str(error))
    return result


def _count_embedded(result: VerificationResult) -> VerificationResult:
    """Count the lost rows that a repaired store holds again."""
    if result.is_whole or result.repair_problem:
        return result
    lost_digests = _lost_digests(result)
    return replace(result, n_embedded=len(lost_digests) - len(open_store(result.store).missing(lost_digests)))
