"""Is everything in a cache what was written? Where it is not, only what is broken is embedded again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.cache_place import Cache, fingerprint_of
from featx.embeddings.extract import extract
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage.checks import StoreCheck, check, mend, open_store, restore_header
from featx.storage.store import segment_store_at


@dataclass(frozen=True)
class VerificationResult(StoreCheck):
    """A store after all its checksums were compared, and mended where that was asked for.

    Attributes
    ----------
    lost_ids
        Images whose rows are broken, by the names that recipes in sight give them; digests of others.
    n_embedded
        Of these, those that were embedded anew.
    """

    lost_ids: list[str] = field(default_factory=list)
    n_embedded: int = 0

    @property
    def n_lost(self) -> int:
        """Rows that are broken."""
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
        Whose cache it is; by `repair` its lost rows are embedded again.
    cache
        Another folder or URL.
    stores
        How the names of some begin; all by default.
    repair
        Write damaged segments anew without their broken rows, and embed these from their images.

    Raises
    ------
    DataError
        there is no such cache or store.
    """
    place = Cache.of(recipe, cache)
    found = []
    for store in place.stores(stores):
        checked = check(store.place, progress)
        lost = [digest for damage in checked.damages for digest in damage.lost]
        found.append(VerificationResult(**vars(checked), lost_ids=[place.names.get(digest, digest) for digest in lost]))
    if repair:
        found = [_mended(place, one) for one in found]
        if place.recipe is not None and any(not one.is_whole for one in found):
            extract(place.recipe, progress=progress)
        found = [_filled(one) for one in found]
    return found


def _mended(place: Cache, one: VerificationResult) -> VerificationResult:
    if one.problem and (known := place.needed.get(fingerprint_of(segment_store_at(one.store).name))):
        restore_header(one.store, next(iter(known.values())))
    if not one.is_whole:
        mend(one.store)
    return one


def _filled(one: VerificationResult) -> VerificationResult:
    """Count what stands in a mended store again."""
    if one.is_whole:
        return one
    lost = [digest for damage in one.damages for digest in damage.lost]
    return replace(one, n_embedded=len(lost) - len(open_store(one.store).missing(lost)))
