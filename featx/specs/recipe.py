"""A study written down as TOML: where the data is, what to predict, what to try.

All problems of a file are reported at once, each with its key's path. Names are checked against the registries
without importing what they name. Where files lie on disk is `featx.study.study`'s matter.
"""

import glob
import os
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from featx.errors import DataError, RecipeError
from featx.files.parsing import ParseError, parse_toml
from featx.registry import suggestion
from featx.specs.base import Spec
from featx.specs.data import ReaderSpec
from featx.specs.embedding import Decoding, EmbeddingRequest, Pool
from featx.specs.ensembling import EnsembleSpec
from featx.specs.evaluation import EvaluationSpec
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, known_backbone
from featx.specs.head import HeadSpec
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec

S = TypeVar("S", bound=Spec)
OF_NO_NAME = ("all", "search")  # what a head says of embeddings without naming one
NAMED, UNNAMED = "FEATX_RECIPE", "featx.toml"  # what names a recipe where a call does not, and what it is called then
CHECKPOINT = "checkpoint:"  # how a backbone's name begins that is a run
DEFAULT_HEADS = ("logreg", "svm", "rf", "xgboost")
DEFAULT_HEADS_OF_NUMBERS = ("ridge", "svm", "rf", "xgboost")


class PathsSpec(Spec):
    """Where results go: relative to the recipe; by default ``cache/`` and ``runs/`` in the working directory.

    `cache` may be a URL, ``s3://bucket/prefix``; `notes` is the folder of what is no embedding, by default that of the
    cache, and for a URL ``cache/`` in the working directory.
    """

    cache: str | None = None
    runs: str | None = None
    notes: str | None = None


class EmbeddingSection(EmbeddingRequest):
    """An ``[[embedding]]`` of a recipe: a list in `tap` or `pool` is a grid, one embedding each."""

    tap: str | Annotated[tuple[str, ...], Field(min_length=1)] = "last"  # type: ignore[assignment]
    pool: Pool | Annotated[tuple[Pool, ...], Field(min_length=1)] = "avg"  # type: ignore[assignment]

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        return known_backbone(name)

    def requests(self) -> Iterator[EmbeddingRequest]:
        """Yield one request for each tap and pooling."""
        taps = (self.tap,) if isinstance(self.tap, str) else self.tap
        pools = (self.pool,) if isinstance(self.pool, str) else self.pool
        for tap, pool in product(taps, pools):
            yield EmbeddingRequest(**self.model_dump() | {"tap": tap, "pool": pool})


class FinetuneSection(Spec):
    """A ``[[finetune]]`` of a recipe: a list where one value is expected is a grid, one run each.

    Attributes
    ----------
    runs
        The grid, the last key running fastest.
    trials
        Search the grid instead: so many of its runs are tried, and those that fall behind are stopped early.
    """

    runs: tuple[FinetuneSpec, ...]
    trials: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, written: Any) -> Any:
        if not isinstance(written, Mapping) or "runs" in written:
            return written
        keys = {name: value for name, value in written.items() if name != "trials"}
        each = [value if _is_grid(name, value) else [value] for name, value in keys.items()]
        runs = [dict(zip(keys, values, strict=True)) for values in product(*each)]
        return {"runs": runs} | {name: written[name] for name in ("trials",) if name in written}


def _is_grid(name: str, value: Any) -> bool:
    """Whether a list holds alternatives, and is not itself the value."""
    own = name in {"phases", "mean", "std"}
    return isinstance(value, list) and bool(value) and (not own or isinstance(value[0], list))


class Recipe(Spec):
    """A whole study; sections other than ``data`` and ``targets`` have defaults.

    Attributes
    ----------
    name
        The file's name without its ending; results lie under it.
    folder
        Of the file; its relative paths start here.
    """

    name: str
    folder: Path
    data: ReaderSpec
    targets: Annotated[dict[str, TargetSpec], Field(min_length=1)]
    groups: Annotated[dict[str, str], Field(default_factory=dict)]
    split: SplitSpec = SplitSpec()
    decoding: Decoding = Decoding()
    extraction: EngineSpec = EngineSpec()
    embedding: tuple[EmbeddingSection, ...] = (EmbeddingSection(),)
    head: tuple[HeadSpec, ...] = tuple(HeadSpec(name=name) for name in DEFAULT_HEADS)
    finetune: tuple[FinetuneSection, ...] = ()
    ensemble: EnsembleSpec = EnsembleSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    paths: PathsSpec = PathsSpec()

    @model_validator(mode="before")
    @classmethod
    def _heads_left_out(cls, written: Any) -> Any:
        """Where no heads are named: none beside networks alone; otherwise those that learn the kinds of targets."""
        if not isinstance(written, Mapping) or "head" in written:
            return written
        if "finetune" in written and "embedding" not in written:
            return {**written, "embedding": (), "head": ()}
        targets = written.get("targets")
        given = [one for one in targets.values() if isinstance(one, Mapping)] if isinstance(targets, Mapping) else []
        of_numbers = [one.get("kind") == "numbers" for one in given]
        of_others = () if of_numbers and all(of_numbers) else DEFAULT_HEADS
        names = (*of_others, *(DEFAULT_HEADS_OF_NUMBERS if any(of_numbers) else ()))
        return {**written, "head": [{"name": name} for name in dict.fromkeys(names)]}

    @model_validator(mode="after")
    def _heads_need_embeddings(self) -> "Recipe":
        if not (self.embedding or self.finetune):
            raise ValueError("embedding: found [], expected an [[embedding]] or a [[finetune]]")
        if bool(self.head) != bool(self.embedding):
            raise ValueError("[[head]] and [[embedding]] go together, found one of them empty")
        return self

    @model_validator(mode="after")
    def _heads_name_embeddings_that_there_are(self) -> "Recipe":
        for number, head in enumerate(self.head):
            for one in head.grid():
                named = one.embeddings not in OF_NO_NAME
                if named and not any(request.is_called(str(one.embeddings)) for request in self.requests):
                    known = [*OF_NO_NAME, *dict.fromkeys(f"{one.backbone}/{one.tap}" for one in self.requests)]
                    raise ValueError(
                        f"head[{number}].embeddings: no embedding is called {one.embeddings!r}; "
                        f"{suggestion(str(one.embeddings), known)}"
                    )
        return self

    @property
    def requests(self) -> tuple[EmbeddingRequest, ...]:
        """All embeddings asked for, grids expanded, each once; files and decoding are the recipe's."""
        every = (request for section in self.embedding for request in section.requests())
        return tuple(dict.fromkeys(self.completed(request) for request in every))

    def completed(self, request: EmbeddingRequest) -> EmbeddingRequest:
        """Return a request with what the recipe says once for all of them: its own folder and decoding."""
        weights = str(self.folder / request.weights) if request.has_own_weights else request.weights
        return request.model_copy(update={"weights": weights, "decoding": self.decoding})

    def waits_for(self, request: EmbeddingRequest) -> bool:
        """Whether an embedding is by a network that this recipe is still to train."""
        path = request.backbone.removeprefix(CHECKPOINT)
        if path == request.backbone or not self.finetune:
            return False
        place = Path(path)
        return not place.exists() and not any(place.parent.glob(f"{glob.escape(place.name)}*/header.json"))

    def engine(self, **said: Any) -> EngineSpec:
        """Return how to extract: the recipe's ``[extraction]`` with what a caller says instead; None says nothing.

        Raises
        ------
        RecipeError
            something said is wrong.
        """
        changes = {name: value for name, value in said.items() if value is not None}
        return checked_spec(EngineSpec, "extraction", **self.extraction.model_dump() | changes)

    def group_columns(self, group_weight: str) -> list[str]:
        """Return the label columns of groups whose names are joined by ``+``.

        Raises
        ------
        DataError
            no group is called so.
        """
        names = [] if group_weight == "none" else group_weight.split("+")
        if unknown := [name for name in names if name not in self.groups]:
            listed = ", ".join(self.groups) or "none"
            raise DataError(f"group_weight: no group is called {unknown[0]!r}; groups of the recipe: {listed}")
        return [self.groups[name] for name in names]

    def heads_named(self, name: str) -> list[HeadSpec]:
        """Return the recipe's settings for a head, or the defaults of one that it does not name."""
        return [head for head in self.head if head.name == name] or [HeadSpec(name=name)]


def has_recipe() -> bool:
    """Whether there is a recipe where none is named: one that ``$FEATX_RECIPE`` names, or ``./featx.toml``."""
    return bool(os.environ.get(NAMED)) or Path(UNNAMED).is_file()


def find_recipe(path: str | Path | None = None) -> Path:
    """Return the recipe to use: `path`, else ``$FEATX_RECIPE``, else ``./featx.toml``.

    Raises
    ------
    RecipeError
        there is none; names ``featx init``.
    """
    found = Path(path or os.environ.get(NAMED) or UNNAMED)
    if not found.is_file():
        raise RecipeError(str(found), ["no such recipe; write one with 'featx init SOURCE' or name one with '-r PATH'"])
    return found


def load_recipe(path: str | Path | Recipe | None = None) -> Recipe:
    """Read and check a recipe; a recipe that is one already is returned as it is.

    Raises
    ------
    RecipeError
        with everything that is wrong in the file.
    """
    if isinstance(path, Recipe):
        return path
    file = find_recipe(path)
    try:
        content = parse_toml(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RecipeError(str(file), [f"is not TOML: {error}"]) from error
    except ParseError as error:
        raise RecipeError(str(file), [str(error)]) from error
    except OSError as error:
        raise RecipeError(str(file), [f"cannot be read: {error.strerror}"]) from error
    return parse_recipe(content, file)


def checked_spec(kind: type[S], source: str, **fields: Any) -> S:
    """Make a spec from single values, as a caller or a command gives them.

    Raises
    ------
    RecipeError
        with everything that is wrong in them; `source` says where they come from.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise RecipeError(source, _problems(error, kind)) from error


def parse_recipe(content: dict[str, Any], file: Path) -> Recipe:
    """Make a recipe of a parsed TOML file.

    Raises
    ------
    RecipeError
        with everything that is wrong in it.
    """
    place = {"name": file.stem, "folder": file.resolve().parent}
    taken = [f"{key}: no such key" for key in place if key in content]
    try:
        recipe = Recipe.model_validate(content | place)
    except ValidationError as error:
        raise RecipeError(str(file), [*taken, *_problems(error, Recipe)]) from error
    if taken:
        raise RecipeError(str(file), taken)
    return recipe


def _problems(error: ValidationError, kind: type[Spec]) -> list[str]:
    """Word pydantic's errors, one a key: where several types would do, the first speaks for all."""
    problems: dict[str, str] = {}
    details = error.errors()
    for detail in details:
        # pydantic also calls a list too short whose items are wrong; that is no problem of its own
        depth = len(detail["loc"])
        items = [other for other in details if len(other["loc"]) > depth and other["loc"][:depth] == detail["loc"]]
        if detail["type"] != "too_short" or not items:
            location = _own_keys(detail["loc"])
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
            what = _what_is_wrong(detail, location, kind)
            problems.setdefault(where, f"{where}: {what}" if where else what)
    return list(problems.values())


def _what_is_wrong(detail: Any, location: list[Any], kind: type[Spec]) -> str:
    """Say what was found and what was expected."""
    name, found = detail["type"], detail["input"]
    if name == "extra_forbidden":
        return f"no such key; {suggestion(str(location[-1]), sorted(_fields_at(location[:-1], kind)))}"
    if name == "missing":
        return "is missing"
    if name == "value_error":
        return str(detail["ctx"]["error"])
    if name == "tuple_type" and isinstance(found, dict) and len(location) == 1:
        return f"found one table, expected a list of them ([[{location[-1]}]])"
    if name in {"model_type", "dict_type"}:
        return f"found {found!r}, expected a table"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"found {found!r}, {message.replace('input should', 'expected to')}"


def _own_keys(location: tuple[Any, ...]) -> list[Any]:
    """Leave out what pydantic adds to name the branch of a union (``str``, ``literal[…]``, ``tuple[…]``)."""
    kept: list[Any] = []
    for part in location:
        free_name = bool(kept) and kept[-1] in {"targets", "groups"}
        if kept[:1] == ["finetune"] and (part == "runs" or (len(kept) == 2 and isinstance(part, int))):
            continue  # which run of the grid it is: its keys stand in the section
        branch = isinstance(part, str) and (part in {"str", "float", "int"} or "[" in part)
        if free_name or not branch:
            kept.append(part)
    return kept


def _fields_at(location: list[Any], section: type[Spec]) -> set[str]:
    """Return the keys that the section at `location` knows."""
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = next(_specs_in(section.model_fields[part].annotation), section)
            section = FinetuneSpec if section is FinetuneSection else section
    return set(section.model_fields) - {"name", "folder"} if section is Recipe else set(section.model_fields)


def _specs_in(annotation: Any) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for argument in get_args(annotation):
        yield from _specs_in(argument)
