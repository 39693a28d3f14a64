"""A cache, and the recipes and models that need its embeddings.

A recipe is known if the files that ``featx extract`` wrote for it lie under the folder of runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from featx.errors import DataError, IncompleteError
from featx.files.parsing import ParseError, parse_json, validate_as
from featx.files.seals import has_valid_seal
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.recipe import Recipe, has_recipe
from featx.specs.sequences import as_tuple
from featx.storage.all_stores import stores_at
from featx.storage.places import STORE_SUFFIX, CachePlace, Stores
from featx.storage.segment_store import SegmentStore
from featx.study.embedding_lock import BOUNDARIES, EMBEDDINGS, read_lock
from featx.study.extraction_tables import read_extracted
from featx.study.folders import cache_place, runs_folder
from featx.study.study import Study

T = TypeVar("T")
# The files of a recipe that name the embeddings it needs.
LOCK_FILES = (EMBEDDINGS, BOUNDARIES)
LOCK_HINT = "the embeddings that it needs are unknown; run the command again that made it, or remove it"


class NeededEmbeddings(BaseModel):
    """The part of a model's header that names the embeddings that it needs."""

    embeddings: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Cache:
    """The stores of a cache, and the runs that need them.

    Attributes
    ----------
    place
        The place of the stores.
    runs
        The folder of all runs.
    recipe
        The recipe with which damaged rows are embedded again; None where there is none.
    """

    place: CachePlace
    runs: Path
    recipe: Recipe | None = None

    @classmethod
    def find(cls, recipe: str | Path | Recipe | None = None, cache: str | Path | None = None) -> "Cache":
        """Return the named cache, or the one that a recipe uses; by default that of the working directory."""
        if recipe is None and not has_recipe():
            return cls(cache_place(cache), runs_folder())
        study = Study.open(recipe)
        place = cache_place(cache) if cache else study.cache
        return cls(place, study.folder.parent, study.recipe)

    @cached_property
    def all_stores(self) -> Stores:
        """All stores of the cache."""
        return stores_at(self.place)

    def stores(self, names: Sequence[str] | str = ()) -> list[SegmentStore]:
        """Return the stores whose names begin with one of the names; all by default.

        Raises
        ------
        DataError
            there is no such cache, or no store has such a name.
        UnreachableError
            an object store does not answer.
        """
        names = as_tuple(names)
        place, stores = self.all_stores.place, self.all_stores.segment_stores()
        if stores is None:
            raise DataError(f"there is no cache at {place}; name one with '--cache', or run 'featx extract' first")
        for name in names:
            if not any(store.name.startswith(name) for store in stores):
                names_text = ", ".join(store.name for store in stores) or "none"
                raise DataError(f"no store in {place} is called {name!r}; stores: {names_text}")
        return [store for store in stores if not names or store.name.startswith(tuple(names))]

    @cached_property
    def needed(self) -> dict[str, dict[str, ResolvedEmbedding]]:
        """The needed embeddings: fingerprint → folder of the known recipe or model → embedding."""
        embeddings: dict[str, dict[str, ResolvedEmbedding]] = {}
        for owner, embedding in (*self._needed_by_recipes(), *self._needed_by_models()):
            embeddings.setdefault(embedding.spec.fingerprint(), {})[owner] = embedding
        return embeddings

    def _needed_by_recipes(self) -> Iterator[tuple[str, ResolvedEmbedding]]:
        for name in LOCK_FILES:
            for file in sorted(self.runs.rglob(name)):
                owner = file.parent.relative_to(self.runs).as_posix()
                lock = read_lock(file, LOCK_HINT)
                for fields in (*lock.embeddings, *lock.pending):
                    yield owner, _parse_embedding(file, fields)

    def _needed_by_models(self) -> Iterator[tuple[str, ResolvedEmbedding]]:
        for file in sorted(self.runs.rglob("[!.]*/header.json")):
            owner = file.parent.parent.relative_to(self.runs).as_posix()
            header = _read_json_object(file)
            if not has_valid_seal(header):
                raise IncompleteError(
                    f"{file} was changed after it was written: the embeddings that it needs are unknown; remove it"
                )
            for fields in _parse_as(NeededEmbeddings, header, file).embeddings:
                yield owner, _parse_embedding(file, fields)

    def is_unneeded(self, store: SegmentStore) -> bool:
        """Return whether recipes are known and none of them needs a store."""
        return self.has_recipes and fingerprint_of(store.name) not in self.needed

    @property
    def has_recipes(self) -> bool:
        """Whether any known recipe could need a store."""
        return any(next(self.runs.rglob(name), None) for name in LOCK_FILES)

    @cached_property
    def image_ids(self) -> dict[str, str]:
        """Digest of an image → its id in a known recipe."""
        ids: dict[str, str] = {}
        for file in sorted(self.runs.rglob("manifest.parquet")):
            frame = read_extracted(file.parent, file.name)
            ids |= dict(zip(frame["digest"], frame["id"], strict=True))
        return ids


def _read_json_object(file: Path) -> dict[str, Any]:
    try:
        value = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    return _parse_as(dict[str, Any], value, file)


def _parse_as(kind: type[T], value: Any, file: Path) -> T:
    try:
        return validate_as(value, kind)
    except ParseError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> IncompleteError:
    return IncompleteError(
        f"{file} cannot be read ({error}): the embeddings that it needs are unknown; repair or remove it"
    )


def _parse_embedding(file: Path, fields: dict[str, Any]) -> ResolvedEmbedding:
    try:
        return ResolvedEmbedding.model_validate({name: fields[name] for name in ResolvedEmbedding.model_fields})
    except ValidationError as error:
        first_error = error.errors()[0]
        problem = f"{'.'.join(map(str, first_error['loc']))}: {first_error['msg']}"
    except KeyError as error:
        problem = f"no {error}"
    raise IncompleteError(
        f"{file} was written by another version of featx ({problem}): the embeddings that it needs are "
        "unknown; update featx, or remove the file"
    )


def fingerprint_of(name: str) -> str:
    """Return the fingerprint of a spec that the name of its store contains."""
    return name.removesuffix(STORE_SUFFIX).rpartition("-")[2]
