"""A cache as a whole, and what is in sight that needs it.

A recipe is in sight where what ``featx extract`` left for it lies under the folder of runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from featx.errors import DataError, IncompleteError
from featx.files.parsing import ParseError, checked, parse_json
from featx.files.seals import SEAL, has_valid_seal, read_sealed
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.recipe import Recipe, has_recipe, load_recipe
from featx.storage.all_stores import stores_at
from featx.storage.places import SUFFIX, Stores
from featx.storage.shelves import SegmentStore
from featx.study.embedding_lock import BOUNDARIES, EMBEDDINGS
from featx.study.extraction_tables import read_extracted
from featx.study.folders import cache_place, runs_folder
from featx.study.study import Study

T = TypeVar("T")
LOCKS = (EMBEDDINGS, BOUNDARIES)


class ModelEmbedding(BaseModel):
    """The part of a model's header that names the embeddings it takes."""

    embeddings: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Cache:
    """A cache's stores, and the runs that say what is needed of them.

    Attributes
    ----------
    everything
        All that lies there.
    recipe
        The one to embed lost rows for; None where there is none.
    """

    everything: Stores
    runs: Path
    recipe: Recipe | None = None

    @classmethod
    def of(cls, recipe: str | Path | Recipe | None = None, cache: str | Path | None = None) -> "Cache":
        """Return the cache that is named, or that a recipe uses; without both that of the working directory."""
        if recipe is None and not has_recipe():
            return cls(stores_at(cache_place(cache)), runs_folder())
        study = Study(load_recipe(recipe))
        place = cache_place(cache) if cache else study.cache
        return cls(stores_at(place), study.folder.parent, study.recipe)

    def stores(self, names: Sequence[str] = ()) -> list[SegmentStore]:
        """Return the stores whose names begin so; all by default.

        Raises
        ------
        DataError
            there is no such cache, or no store is called so.
        UnreachableError
            an object store does not say.
        """
        place, every = self.everything.place, self.everything.shelves()
        if every is None:
            raise DataError(f"no cache lies at {place}; name one with '--cache', or run 'featx extract' first")
        for name in names:
            if not any(shelf.name.startswith(name) for shelf in every):
                known = ", ".join(shelf.name for shelf in every) or "none"
                raise DataError(f"no store in {place} is called {name!r}; stores: {known}")
        return [shelf for shelf in every if not names or shelf.name.startswith(tuple(names))]

    @cached_property
    def needed(self) -> dict[str, dict[str, ResolvedEmbedding]]:
        """Fingerprint → recipe in sight → what it was resolved to there, models made with it among them."""
        found: dict[str, dict[str, ResolvedEmbedding]] = {}
        for owner, one in (*self._locked(), *self._of_models()):
            found.setdefault(one.spec.fingerprint(), {})[owner] = one
        return found

    def _locked(self) -> Iterator[tuple[str, ResolvedEmbedding]]:
        for name in LOCKS:
            for file in sorted(self.runs.rglob(name)):
                for one in _sealed(file).embeddings:
                    yield _owner(self.runs, file.parent), _resolved(file, one)

    def _of_models(self) -> Iterator[tuple[str, ResolvedEmbedding]]:
        for file in sorted(self.runs.rglob("[!.]*/header.json")):
            header = _json(file)
            # Headers of format 1 may have no seal.
            if SEAL in header and not has_valid_seal(header):
                raise IncompleteError(f"{file} was changed after it was written: what it needs is not known; remove it")
            for one in _as(ModelEmbedding, header, file).embeddings:
                yield _owner(self.runs, file.parent.parent), _resolved(file, one)

    def holds_unneeded(self, store: SegmentStore) -> bool:
        """Whether no recipe in sight needs a store; unknown, and so no, where none is in sight."""
        return self.has_recipes and fingerprint_of(store.name) not in self.needed

    @property
    def has_recipes(self) -> bool:
        """Whether there is anything in sight that could need a store."""
        return any(next(self.runs.rglob(name), None) for name in LOCKS)

    @cached_property
    def names(self) -> dict[str, str]:
        """Digest → id of an image, by the recipes in sight."""
        found: dict[str, str] = {}
        for file in sorted(self.runs.rglob("manifest.parquet")):
            frame = read_extracted(file.parent, file.name)
            found |= dict(zip(frame["digest"], frame["id"], strict=True))
        return found


def _json(file: Path) -> dict[str, Any]:
    try:
        value = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    return _as(dict[str, Any], value, file)


def _as(kind: type[T], value: Any, file: Path) -> T:
    try:
        return checked(value, kind)
    except ParseError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> IncompleteError:
    return IncompleteError(f"{file} cannot be read ({error}): what it needs is not known; repair or remove it")


def _sealed(file: Path) -> ModelEmbedding:
    remedy = "what it needs is not known; run the command again that made it, or remove it"
    return read_sealed(file, remedy, ModelEmbedding)


def _resolved(file: Path, fields: dict[str, Any]) -> ResolvedEmbedding:
    try:
        return ResolvedEmbedding.model_validate({name: fields[name] for name in ResolvedEmbedding.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except KeyError as error:
        what = f"no {error}"
    raise IncompleteError(
        f"{file} was written by another version of featx ({what}): what it needs is not known; update featx, or remove "
        "the file"
    )


def _owner(runs: Path, folder: Path) -> str:
    return folder.relative_to(runs).as_posix()


def fingerprint_of(name: str) -> str:
    """Return the fingerprint of a store's spec, as its name has it."""
    return name.removesuffix(SUFFIX).rpartition("-")[2]
