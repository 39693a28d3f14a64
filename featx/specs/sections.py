"""Sections of a recipe that are grids of specs, and the folders of its results."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from featx.specs.base import LabelText, Spec
from featx.specs.embedding import VECTOR_SUFFIXES, Decoding, EmbeddingRequest, Pool
from featx.specs.finetuning import FinetuneSpec, check_backbone

# Keys of a ``[[finetune]]`` that belong to the section, not to its runs.
SECTION_KEYS = ("name", "target", "trials", "tensorboard")


class PathsSpec(Spec):
    """Folders of results, relative to the recipe.

    By default they are in the recipe's project folder: the nearest folder, from that of the recipe upward, in which
    featx has written results, or that holds ``.git`` or ``pyproject.toml``; otherwise the folder of the recipe. The
    environment variables ``FEATX_CACHE``, ``FEATX_RUNS`` and ``FEATX_LOCAL_CACHE`` (relative to the working directory)
    override all of these.

    Attributes
    ----------
    cache
        Folder or URL (``s3://bucket/prefix``) of the embeddings; by default ``cache/`` in the project folder.
    runs
        Folder of the runs; by default ``runs/`` in the project folder.
    local_cache
        Folder of cached results other than embeddings; by default that of the cache, and for a URL ``cache/`` in the
        project folder.
    """

    cache: str | None = None
    runs: str | None = None
    local_cache: str | None = None


class EmbeddingSection(EmbeddingRequest):
    """An ``[[embedding]]`` of a recipe; a list in `tap` or `pool` is a grid with one embedding for each item."""

    tap: str | Annotated[tuple[str, ...], Field(min_length=1)] = "last"  # type: ignore[assignment]
    pool: Pool | Annotated[tuple[Pool, ...], Field(min_length=1)] = "avg"  # type: ignore[assignment]

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, name: str) -> str:
        return check_backbone(name)

    @model_validator(mode="after")
    def _check_vectors(self) -> "EmbeddingSection":
        if self.vectors is None:
            return self
        if other_fields := sorted(self.model_fields_set - {"vectors", "dtype"}):
            raise ValueError(
                f"found 'vectors' and {', '.join(map(repr, other_fields))}, expected only 'dtype' beside it"
            )
        if Path(self.vectors).suffix not in VECTOR_SUFFIXES:
            raise ValueError(f"vectors: found {self.vectors!r}, expected a file *{', *'.join(VECTOR_SUFFIXES)}")
        return self

    @model_validator(mode="after")
    def _check_decoding_is_the_recipes(self) -> "EmbeddingSection":
        if self.decoding != Decoding():
            raise ValueError("found decoding here, expected a section [decoding]: it applies to all embeddings")
        return self

    def requests(self) -> Iterator[EmbeddingRequest]:
        """Yield one request for each pair of tap and pooling."""
        taps = (self.tap,) if isinstance(self.tap, str) else self.tap
        pools = (self.pool,) if isinstance(self.pool, str) else self.pool
        for tap, pool in product(taps, pools):
            yield EmbeddingRequest(**self.model_dump() | {"tap": tap, "pool": pool})


class FinetuneSection(Spec):
    """A ``[[finetune]]`` of a recipe; a list where a single value is expected is a grid with one run for each item.

    Attributes
    ----------
    runs
        All runs of the grid, the last key varying fastest.
    name
        Beginning of the names of the runs, without hyphens; backbones name a section's only run ``checkpoint:NAME``. By
        default the names begin with the backbone.
    target
        Name of the only target that the runs predict; by default all targets of classes and numbers.
    trials
        Number of runs of the grid that a search tries, which stops inferior ones early; by default all runs are
        trained.
    tensorboard
        Whether the run folders get logs for TensorBoard (extra ``track``).
    """

    runs: tuple[FinetuneSpec, ...]
    name: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    target: LabelText | None = None
    trials: Annotated[int, Field(ge=1)] | None = None
    tensorboard: bool = False

    @model_validator(mode="before")
    @classmethod
    def _expand_grid(cls, section: Any) -> Any:
        if not isinstance(section, Mapping) or "runs" in section:
            return section
        keys = {name: value for name, value in section.items() if name not in SECTION_KEYS}
        choices = [value if _is_grid(name, value) else [value] for name, value in keys.items()]
        runs = [dict(zip(keys, values, strict=True)) for values in product(*choices)]
        return {"runs": runs} | {name: section[name] for name in SECTION_KEYS if name in section}


def find_repeated_networks(sections: Sequence[FinetuneSection]) -> Iterator[str]:
    """Yield one message for each ``[[finetune]]`` that trains a network of an earlier section again by another name."""
    for number, section in enumerate(sections):
        fingerprints = {run.fingerprint() for run in section.runs}
        for earlier_number, earlier in enumerate(sections[:number]):
            have_common_target = None in {section.target, earlier.target} or section.target == earlier.target
            is_renamed = section.name != earlier.name
            if is_renamed and have_common_target and fingerprints & {run.fingerprint() for run in earlier.runs}:
                yield (
                    f"finetune[{number}]: trains a network of finetune[{earlier_number}] again, with the same settings "
                    "and the same seed; change one of them, or remove the section"
                )


def _is_grid(name: str, value: Any) -> bool:
    """Return whether a list holds alternative values of a field, rather than being its value."""
    takes_list = name in {"phases", "mean", "std"}
    return isinstance(value, list) and bool(value) and (not takes_list or isinstance(value[0], list))
