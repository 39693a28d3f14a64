"""Compare all checksums of a cache, and repair it: only damaged rows are embedded again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.embeddings.damaged_rows import embed_damaged_rows
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
    damaged_ids
        Ids of the images whose rows are broken, or their digests where no known recipe contains them.
    n_embedded
        Number of these images that were embedded again.
    repair_problem
        The reason why the store could not be repaired; empty if it could, or was not to be repaired.
    """

    damaged_ids: list[str] = field(default_factory=list)
    n_embedded: int = 0
    repair_problem: str = ""

    @property
    def n_damaged_rows(self) -> int:
        """Number of damaged rows."""
        return sum(damage.n_damaged_rows for damage in self.damaged_segments)


def verify(
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    stores: Sequence[str] | str = (),
    repair: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[VerificationResult]:
    """Compare all checksums of a cache.

    Parameters
    ----------
    recipe
        The recipe whose cache it is; `repair` embeds its damaged rows again, also in another cache.
    cache
        Another folder or URL.
    stores
        Beginnings of the names of some stores; all by default.
    repair
        Whether to write damaged segments again without their damaged rows, and to embed these from their images.
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
        damaged_ids = [place.image_ids.get(digest, digest) for digest in _damaged_digests(check)]
        results.append(VerificationResult(**vars(check), damaged_ids=damaged_ids))
    if not repair:
        return results
    results = [_repair(place, result) for result in results]
    if place.recipe is not None:
        # The rows that stay damaged are counted; the message says to run 'featx extract'.
        with suppress(IncompleteError):
            embed_damaged_rows(Study(place.recipe), place.place, _group_damaged_digests(results), progress)
    return [_count_embedded(result) for result in results]


def _damaged_digests(check: StoreCheck) -> list[str]:
    return [digest for damage in check.damaged_segments for digest in damage.damaged_digests]


def _group_damaged_digests(results: Sequence[VerificationResult]) -> dict[str, set[str] | None]:
    """Return the digests of the damaged rows by the fingerprint of the embedding; None where they are not known."""
    digests_by_fingerprint: dict[str, set[str] | None] = {}
    for result in results:
        if result.is_whole or result.repair_problem:
            continue
        # A store without a valid header was not examined.
        is_known = not result.problem and all(damage.is_complete for damage in result.damaged_segments)
        fingerprint = fingerprint_of(segment_store_at(result.store).name)
        digests_by_fingerprint[fingerprint] = set(_damaged_digests(result)) if is_known else None
    return digests_by_fingerprint


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
    """Count the damaged rows that a repaired store holds again."""
    if result.is_whole or result.repair_problem:
        return result
    damaged_digests = _damaged_digests(result)
    return replace(result, n_embedded=len(damaged_digests) - len(open_store(result.store).missing(damaged_digests)))
