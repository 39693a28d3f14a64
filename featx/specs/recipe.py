"""Recipes: a study as a TOML file that names its data, targets, embeddings, heads and networks.

All problems of a file are reported at once, each with the path of its key. Names are checked against the registries
without importing what they refer to. `featx.study.study` decides where files are on disk.
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
from featx.registry import suggest_names
from featx.specs.base import Spec
from featx.specs.data import ReaderSpec
from featx.specs.embedding import Decoding, EmbeddingRequest, Pool
from featx.specs.ensembling import EnsembleSpec
from featx.specs.evaluation import EvaluationSpec
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, check_backbone
from featx.specs.head import HeadSpec
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec

S = TypeVar("S", bound=Spec)
# Values of `HeadSpec.embeddings` that are not the name of an embedding.
EMBEDDINGS_KEYWORDS = ("all", "search")
RECIPE_VARIABLE = "FEATX_RECIPE"
DEFAULT_RECIPE = "featx.toml"
# Prefix of a backbone's name that is followed by the folder of a fine-tuned network's run.
CHECKPOINT_PREFIX = "checkpoint:"
# Keys of recipes for older versions, with their present names.
RENAMED_KEYS = {"cut": "order", "learns": "trainable", "least_cosine": "min_cosine", "warm": "warm_start"}
DEFAULT_HEADS = ("logreg", "svm", "rf", "xgboost")
DEFAULT_HEADS_OF_NUMBERS = ("ridge", "svm", "rf", "xgboost")


class PathsSpec(Spec):
    """Folders of results, relative to the recipe.

    Attributes
    ----------
    cache
        Folder or URL (``s3://bucket/prefix``) of the embeddings; by default ``cache/`` in the working directory.
    runs
        Folder of the runs; by default ``runs/`` in the working directory.
    notes
        Folder of cached results other than embeddings; by default that of the cache, and for a URL ``cache/`` in the
        working directory.
    """

    cache: str | None = None
    runs: str | None = None
    notes: str | None = None


class EmbeddingSection(EmbeddingRequest):
    """An ``[[embedding]]`` of a recipe; a list in `tap` or `pool` is a grid with one embedding for each item."""

    tap: str | Annotated[tuple[str, ...], Field(min_length=1)] = "last"  # type: ignore[assignment]
    pool: Pool | Annotated[tuple[Pool, ...], Field(min_length=1)] = "avg"  # type: ignore[assignment]

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, name: str) -> str:
        return check_backbone(name)

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
    trials
        Number of runs of the grid that a search tries, which stops inferior ones early; by default all runs are
        trained.
    """

    runs: tuple[FinetuneSpec, ...]
    trials: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_grid(cls, section: Any) -> Any:
        if not isinstance(section, Mapping) or "runs" in section:
            return section
        keys = {name: value for name, value in section.items() if name != "trials"}
        choices = [value if _is_grid(name, value) else [value] for name, value in keys.items()]
        runs = [dict(zip(keys, values, strict=True)) for values in product(*choices)]
        return {"runs": runs} | {name: section[name] for name in ("trials",) if name in section}


def _is_grid(name: str, value: Any) -> bool:
    """Return whether a list holds alternative values of a field, rather than being its value."""
    takes_list = name in {"phases", "mean", "std"}
    return isinstance(value, list) and bool(value) and (not takes_list or isinstance(value[0], list))


class Recipe(Spec):
    """A whole study; all sections but ``data`` have defaults. Without ``targets``, images are embedded, not learnt.

    Attributes
    ----------
    name
        Name of the file without its suffix; also the name of the folder of its results.
    folder
        Folder of the file, which its relative paths start from.
    """

    name: str
    folder: Path
    data: ReaderSpec
    targets: Annotated[dict[str, TargetSpec], Field(default_factory=dict)]
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
    def _set_default_heads(cls, content: Any) -> Any:
        """Return the content with heads that fit the kinds of targets, or without heads if it has networks alone."""
        if not isinstance(content, Mapping) or "head" in content:
            return content
        if "finetune" in content and "embedding" not in content:
            return {**content, "embedding": (), "head": ()}
        sections = content["targets"].values() if isinstance(content.get("targets"), Mapping) else ()
        is_numbers = [section.get("kind") == "numbers" for section in sections if isinstance(section, Mapping)]
        classifiers = () if is_numbers and all(is_numbers) else DEFAULT_HEADS
        names = (*classifiers, *(DEFAULT_HEADS_OF_NUMBERS if any(is_numbers) else ()))
        return {**content, "head": [{"name": name} for name in dict.fromkeys(names)]}

    @model_validator(mode="after")
    def _check_sections(self) -> "Recipe":
        if not (self.embedding or self.finetune):
            raise ValueError("embedding: found [], expected an [[embedding]] or a [[finetune]]")
        if bool(self.head) != bool(self.embedding):
            raise ValueError(f"found {len(self.head)} [[head]] and {len(self.embedding)} [[embedding]], expected both")
        return self

    @model_validator(mode="after")
    def _check_embeddings_of_heads(self) -> "Recipe":
        for number, head in enumerate(self.head):
            for name in (str(run.embeddings) for run in head.grid()):
                if name not in EMBEDDINGS_KEYWORDS and not any(request.is_called(name) for request in self.requests):
                    backbone_taps = dict.fromkeys(f"{request.backbone}/{request.tap}" for request in self.requests)
                    raise ValueError(
                        f"head[{number}].embeddings: no embedding is called {name!r}; "
                        f"{suggest_names(name, [*EMBEDDINGS_KEYWORDS, *backbone_taps])}"
                    )
        return self

    @property
    def requests(self) -> tuple[EmbeddingRequest, ...]:
        """All requested embeddings without duplicates, grids expanded, with the recipe's folder and decoding."""
        requests = (request for section in self.embedding for request in section.requests())
        return tuple(dict.fromkeys(self.completed(request) for request in requests))

    def completed(self, request: EmbeddingRequest) -> EmbeddingRequest:
        """Return a request with the recipe's decoding, and its weights' file relative to the recipe's folder."""
        weights = str(self.folder / request.weights) if request.has_own_weights else request.weights
        return request.model_copy(update={"weights": weights, "decoding": self.decoding})

    def needs_untrained_network(self, request: EmbeddingRequest) -> bool:
        """Return whether an embedding uses a network that this recipe has yet to train."""
        path = request.backbone.removeprefix(CHECKPOINT_PREFIX)
        if path == request.backbone or not self.finetune:
            return False
        run = Path(path)
        return not run.exists() and not any(run.parent.glob(f"{glob.escape(run.name)}*/header.json"))

    def engine(self, **overrides: Any) -> EngineSpec:
        """Return the settings of ``[extraction]``, replaced by those in `overrides` that are not None.

        Raises
        ------
        RecipeError
            A value of `overrides` is invalid.
        """
        changes = {name: value for name, value in overrides.items() if value is not None}
        return build_spec(EngineSpec, "extraction", **self.extraction.model_dump() | changes)

    def group_columns(self, group_weight: str) -> list[str]:
        """Return the label columns of groups whose names are joined by ``+``.

        Raises
        ------
        DataError
            The recipe has no group of such a name.
        """
        names = [] if group_weight == "none" else group_weight.split("+")
        if unknown := [name for name in names if name not in self.groups]:
            listed = ", ".join(self.groups) or "none"
            raise DataError(f"group_weight: no group is called {unknown[0]!r}; groups of the recipe: {listed}")
        return [self.groups[name] for name in names]

    def head_specs(self, name: str) -> list[HeadSpec]:
        """Return the recipe's specs of a head, or its default spec if the recipe has none."""
        return [head for head in self.head if head.name == name] or [HeadSpec(name=name)]


def has_recipe() -> bool:
    """Return whether there is a default recipe: ``$FEATX_RECIPE`` is set, or ``./featx.toml`` exists."""
    return bool(os.environ.get(RECIPE_VARIABLE)) or Path(DEFAULT_RECIPE).is_file()


def find_recipe(path: str | Path | None = None) -> Path:
    """Return the path of the recipe to use: `path`, else ``$FEATX_RECIPE``, else ``./featx.toml``.

    Raises
    ------
    RecipeError
        There is no such file.
    """
    file = Path(path or os.environ.get(RECIPE_VARIABLE) or DEFAULT_RECIPE)
    if not file.is_file():
        raise RecipeError(str(file), ["no such recipe; write one with 'featx init SOURCE' or name one with '-r PATH'"])
    return file


def load_recipe(path: str | Path | Recipe | None = None) -> Recipe:
    """Read and check a recipe; a loaded recipe is returned unchanged.

    Parameters
    ----------
    path
        Path of a recipe, or a loaded recipe; by default that of `find_recipe`.

    Raises
    ------
    RecipeError
        The file has problems; the error lists all of them.
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


def build_spec(kind: type[S], source: str, **fields: Any) -> S:
    """Return a spec made of values from a caller or a command.

    Parameters
    ----------
    kind
        Class of the spec.
    source
        Origin of the values, for the error's message.

    Raises
    ------
    RecipeError
        Values are invalid; the error lists all of them.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise RecipeError(source, _problems(error, kind)) from error


def parse_recipe(content: dict[str, Any], file: Path) -> Recipe:
    """Return the recipe in a parsed TOML file.

    Parameters
    ----------
    content
        The parsed content.
    file
        Path of the file, which gives the recipe its name and folder.

    Raises
    ------
    RecipeError
        The content has problems; the error lists all of them.
    """
    origin = {"name": file.stem, "folder": file.resolve().parent}
    reserved = [f"{key}: no such key" for key in origin if key in content]
    try:
        recipe = Recipe.model_validate(content | origin)
    except ValidationError as error:
        raise RecipeError(str(file), [*reserved, *_problems(error, Recipe)]) from error
    if reserved:
        raise RecipeError(str(file), reserved)
    return recipe


def _problems(error: ValidationError, kind: type[Spec]) -> list[str]:
    """Return pydantic's errors as messages, one per key: of the alternatives of a union the first is reported."""
    problems: dict[str, str] = {}
    details = error.errors()
    for detail in details:
        # Pydantic reports a list with invalid items as too short as well, which is not a second problem.
        depth = len(detail["loc"])
        is_of_items = any(item["loc"][:depth] == detail["loc"] and len(item["loc"]) > depth for item in details)
        if detail["type"] != "too_short" or not is_of_items:
            location = _recipe_keys(detail["loc"])
            key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
            message = _describe_problem(detail, location, kind)
            problems.setdefault(key, f"{key}: {message}" if key else message)
    return list(problems.values())


def _describe_problem(detail: Any, location: list[Any], kind: type[Spec]) -> str:
    """Return one of pydantic's errors as a message that says what was found and what was expected."""
    name, value = detail["type"], detail["input"]
    if name == "extra_forbidden":
        key, fields = str(location[-1]), _fields_at(location[:-1], kind)
        if (new_name := RENAMED_KEYS.get(key)) in fields:
            return f"no such key; it was renamed to {new_name!r}"
        return f"no such key; {suggest_names(key, sorted(fields))}"
    if name == "missing":
        return "is missing"
    if name == "value_error":
        return str(detail["ctx"]["error"])
    if name == "tuple_type" and isinstance(value, dict) and len(location) == 1:
        return f"found one table, expected a list of them ([[{location[-1]}]])"
    if name in {"model_type", "dict_type"}:
        return f"found {value!r}, expected a table"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"found {value!r}, {message.replace('input should', 'expected to')}"


def _recipe_keys(location: tuple[Any, ...]) -> list[Any]:
    """Return a location without the parts that name a branch of a union (``str``, ``literal[…]``, ``tuple[…]``)."""
    keys: list[Any] = []
    for part in location:
        is_free_name = bool(keys) and keys[-1] in {"targets", "groups"}
        # The keys of a run of the grid are those of its section.
        if keys[:1] == ["finetune"] and (part == "runs" or (len(keys) == 2 and isinstance(part, int))):
            continue
        is_branch = isinstance(part, str) and (part in {"str", "float", "int"} or "[" in part)
        if is_free_name or not is_branch:
            keys.append(part)
    return keys


def _fields_at(location: list[Any], section: type[Spec]) -> set[str]:
    """Return the keys of the section at `location`."""
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = next(_specs_in(section.model_fields[part].annotation), section)
            section = FinetuneSpec if section is FinetuneSection else section
    return set(section.model_fields) - {"name", "folder"} if section is Recipe else set(section.model_fields)


def _specs_in(annotation: Any) -> Iterator[type[Spec]]:
    """Yield the specs in a type, those in its arguments included."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for argument in get_args(annotation):
        yield from _specs_in(argument)
