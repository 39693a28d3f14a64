"""Recipes: a study as a TOML file that names its data, targets, embeddings, heads and networks.

All problems of a file are reported at once, each with the path of its key. Names are checked against the registries
without importing what they refer to. `featx.study.study` decides where files are on disk.
"""

import glob
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError, model_validator

from featx.errors import DataError, RecipeError
from featx.files.parsing import ParseError, parse_toml
from featx.specs.attacking import AttackSection
from featx.specs.base import Seed, Spec
from featx.specs.checkpoint_names import find_checkpoint_problems, resolve_checkpoint, sections_with_backbones
from featx.specs.corrupting import CorruptionSpec
from featx.specs.data import ReaderSpec
from featx.specs.embedding import CHECKPOINT_PREFIX, Decoding, EmbeddingRequest
from featx.specs.ensembling import EnsembleSpec
from featx.specs.evaluation import EvaluationSpec
from featx.specs.extraction import EngineSpec
from featx.specs.group import GroupSpec
from featx.specs.head import HeadSpec
from featx.specs.head_embeddings import find_unknown_embeddings, name_limited_embeddings
from featx.specs.presets import PresetName, PresetSpec
from featx.specs.recipe_defaults import DEFAULT_HEADS, content_with_default_heads, sections_with_seed
from featx.specs.sections import EmbeddingSection, FinetuneSection, PathsSpec, find_repeated_networks
from featx.specs.smoothing import SmoothingSpec
from featx.specs.split import SplitSpec
from featx.specs.suitability import find_unsuited_settings
from featx.specs.target import TargetSpec
from featx.specs.validation import build_spec, describe_problems

RECIPE_VARIABLE = "FEATX_RECIPE"
DEFAULT_RECIPE = "featx.toml"


class Recipe(Spec):
    """A whole study; all sections but ``data`` have defaults. Without ``targets``, images are embedded, not learnt.

    Attributes
    ----------
    name
        Name of the file without its suffix; also the name of the folder of its results.
    folder
        Folder of the file, which its relative paths start from.
    file
        Path of the file as it was given; by default the file of this name in the folder.
    variant
        Preset, outer split, or both, that the recipe was limited to: ``PRESET/repeat-00``; empty for the whole recipe.
    seed
        Seed of the split and of all sections with random choices; a section's own `seed` takes precedence.
    """

    set_by_loader: ClassVar[frozenset[str]] = frozenset({"name", "folder", "file", "variant"})

    name: str
    folder: Path
    file: Path | None = None
    variant: str = ""
    seed: Seed = 0
    data: ReaderSpec
    targets: Annotated[dict[str, TargetSpec], Field(default_factory=dict)]
    groups: Annotated[dict[str, GroupSpec], Field(default_factory=dict)]
    split: SplitSpec = SplitSpec()
    decoding: Decoding = Decoding()
    extraction: EngineSpec = EngineSpec()
    embedding: tuple[EmbeddingSection, ...] = (EmbeddingSection(),)
    head: tuple[HeadSpec, ...] = tuple(HeadSpec(name=name) for name in DEFAULT_HEADS)
    finetune: tuple[FinetuneSection, ...] = ()
    ensemble: tuple[EnsembleSpec, ...] = (EnsembleSpec(),)
    attack: tuple[AttackSection, ...] = ()
    smoothing: tuple[SmoothingSpec, ...] = ()
    evaluation: EvaluationSpec = EvaluationSpec()
    corruption: CorruptionSpec | None = None
    paths: PathsSpec = PathsSpec()
    presets: Annotated[dict[PresetName, PresetSpec], Field(default_factory=dict)]

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, content: Any) -> Any:
        """Return the content with default heads and with the seed of the recipe in all sections without their own."""
        if not isinstance(content, Mapping):
            return content
        full_content = content_with_default_heads(content)
        return full_content | sections_with_seed(full_content)

    @model_validator(mode="after")
    def _check_sections(self) -> "Recipe":
        if not (self.embedding or self.finetune):
            raise ValueError("embedding: found [], expected an [[embedding]] or a [[finetune]]")
        if self.embedding and not self.head:
            raise ValueError(
                "head: found [], expected a [[head]] on the embeddings; without the key there are defaults"
            )
        if self.head and not self.embedding:
            raise ValueError("embedding: found [], expected an [[embedding]] that the heads are fitted on")
        return self

    @model_validator(mode="after")
    def _check_names_of_vectors(self) -> "Recipe":
        names = [Path(section.vectors).name for section in self.embedding if section.vectors is not None]
        if repeated_names := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"embedding: {len(repeated_names)} files of vectors are called {repeated_names[0]!r}; rename them"
            )
        return self

    @model_validator(mode="after")
    def _check_embeddings_of_heads(self) -> "Recipe":
        for problem in find_unknown_embeddings(self.head, self.requests):
            raise ValueError(problem)
        return self

    def with_preset(self, name: str) -> "Recipe":
        """Return the recipe within the limits of one of its presets; the preset's name is appended to its own.

        Parameters
        ----------
        name
            Name of a preset; ``repeat-00``, … for one of the outer splits; or both: ``PRESET/repeat-00``.

        Raises
        ------
        DataError
            The recipe has no such preset or outer split.
        RecipeError
            Limits of the preset have no effect, or the sections do not fit together within them.
        """
        preset_name, _, split_name = name.partition("/") if name not in self.presets else (name, "", "")
        if split_name:
            return self.with_preset(preset_name).with_preset(split_name)
        outer_recipes = {recipe.variant.rpartition("/")[2]: recipe for recipe in self.outer_recipes}
        if name in outer_recipes:
            return outer_recipes[name]
        if outer_recipes and name not in self.presets:
            names_text = ", ".join([*self.presets, f"{next(iter(outer_recipes))} … {list(outer_recipes)[-1]}"])
            raise DataError(f"{self.name} has no preset or outer split {name!r}; expected one of {names_text}")
        if name not in self.presets:
            raise DataError(f"{self.name} has no preset {name!r}; presets: {', '.join(self.presets) or 'none'}")
        return self._limit(self.presets[name], name)

    def _limit(self, preset: PresetSpec, name: str) -> "Recipe":
        """Return the recipe within the limits of a preset; errors are those of `with_preset`."""
        changes = {
            "name": f"{self.name}-{name}",
            "variant": name,
            "data": preset.limit_data(self.data),
            "targets": {name: preset.limit_target(target) for name, target in self.targets.items()},
            "embedding": tuple(preset.limit_embedding(section) for section in self.embedding),
            "finetune": tuple(preset.limit_finetuning(section) for section in self.finetune),
        }
        limited = self.model_copy(update=changes)
        try:
            heads = name_limited_embeddings(self.head, self._all_requests, limited._all_requests)
        except ValueError as error:
            raise RecipeError(limited.reference, [f"presets.{name}.{error}"]) from error
        limited = limited.model_copy(update={"head": tuple(map(preset.limit_head, heads))})
        limit_problems = preset.find_ineffective_limits(self.embedding, self.finetune)
        problems = [f"presets.{name}.{problem}" for problem in limit_problems]
        problems += find_checkpoint_problems(self.targets, limited.embedding, limited.finetune, self.folder)
        if problems:
            raise RecipeError(limited.reference, problems)
        return limited

    @property
    def reader_spec(self) -> ReaderSpec:
        """The section ``data``; columns whose labels are separated by a comma or a point are text, not decimals."""
        targets = [target for target in self.targets.values() if (target.separator or "").strip() in {",", "."}]
        return self.data.with_text_columns([target.column for target in targets])

    @property
    def outer_recipes(self) -> "tuple[Recipe, ...]":
        """The recipe of the study in each outer split; empty for a study of one split."""
        seeds = self.split.outer_seeds
        n_digits = max(2, len(str(len(seeds) - 1)))
        names = [f"repeat-{number:0{n_digits}}" for number in range(len(seeds))]
        return tuple(
            self.model_copy(
                update={
                    "name": f"{self.name}/{name}",
                    "variant": f"{self.variant}/{name}".removeprefix("/"),
                    "split": self.split.outer_split(seed),
                }
            )
            for name, seed in zip(names, seeds, strict=True)
        )

    @property
    def reference(self) -> str:
        """The recipe as ``-r`` names it in a shell: the path of its file, then ``#`` and its variant if it has one."""
        file = self.folder / f"{self.name.partition('/')[0]}.toml" if self.file is None else self.file
        return shlex.quote(str(file)) + (f"#{self.variant}" if self.variant else "")

    @model_validator(mode="after")
    def _check_outer_splits(self) -> "Recipe":
        balanced_names = [name for name, target in self.targets.items() if target.balance != "none"]
        if balanced_names and (self.split.outer_seeds or self.split.cut is not None):
            raise ValueError(
                f"targets.{balanced_names[0]}.balance leaves out images by the parts and the seed of one split; "
                "expected no 'repeats', 'seeds' or 'cut' in [split] beside it"
            )
        return self

    @property
    def requests(self) -> tuple[EmbeddingRequest, ...]:
        """All requested embeddings without duplicates, grids expanded, with the recipe's folder and decoding."""
        return tuple(dict.fromkeys(self._all_requests))

    @property
    def _all_requests(self) -> list[EmbeddingRequest]:
        return [self.completed(request) for section in self.embedding for request in section.requests()]

    def completed(self, request: EmbeddingRequest) -> EmbeddingRequest:
        """Return a request with the recipe's decoding, and its files relative to the recipe's folder."""
        if request.vectors is not None:
            return request.model_copy(update={"vectors": str(self.folder / request.vectors)})
        weights = str(self.folder / request.weights) if request.has_own_weights else request.weights
        return request.model_copy(update={"weights": weights, "decoding": self.decoding})

    def with_checkpoints(self, folder: Path) -> "Recipe":
        """Return the recipe with the paths of runs in place of the names of sections and runs after ``checkpoint:``.

        Parameters
        ----------
        folder
            Folder of the recipe's runs.

        Raises
        ------
        RecipeError
            A name is that of no section and no run; the message lists those that exist.
        """
        backbones = {item.backbone for item in self.embedding}
        backbones |= {run.backbone for section in self.finetune for run in section.runs}
        try:
            # The same run has the same path from every working folder.
            paths = {name: resolve_checkpoint(name, self.finetune, folder.resolve()) for name in sorted(backbones)}
        except ValueError as error:
            raise RecipeError(self.reference, [str(error)]) from error
        if all(name == path for name, path in paths.items()):
            return self
        return self.model_copy(update=sections_with_backbones(self.embedding, self.finetune, self.head, paths))

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

    def corruption_spec(self, **overrides: Any) -> CorruptionSpec:
        """Return the settings of ``[corruption]``, replaced by those in `overrides` that are not None.

        Raises
        ------
        RecipeError
            A value of `overrides` is invalid.
        """
        changes = {name: value for name, value in overrides.items() if value is not None}
        section = (self.corruption or CorruptionSpec()).model_dump()
        return build_spec(CorruptionSpec, "corruption", **section | changes)

    @property
    def group_labels(self) -> dict[str, str]:
        """The label column of each grouping, by its name; the column of bands has the name of the grouping."""
        return {name: group.column if group.bins is None else name for name, group in self.groups.items()}

    def group_columns(self, group_weight: str) -> list[str]:
        """Return the label columns of groups whose names are joined by ``+``.

        Raises
        ------
        DataError
            The recipe has no group of such a name.
        """
        names = [] if group_weight == "none" else group_weight.split("+")
        if unknown_names := [name for name in names if name not in self.groups]:
            names_text = ", ".join(self.groups) or "none"
            raise DataError(
                f"group_weight: no group is called {unknown_names[0]!r}; groups of the recipe: {names_text}"
            )
        return [self.group_labels[name] for name in names]

    def head_specs(self, name: str, target: str | None = None) -> list[HeadSpec]:
        """Return the recipe's specs of a head, for one target or all, or its default spec if the recipe has none."""
        heads = [head for head in self.head if head.name == name]
        return [head for head in heads if target is None or head.target in {None, target}] or [
            HeadSpec(name=name, seed=self.seed)
        ]


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
    if file.is_dir():
        raise RecipeError(str(file), ["found a folder, expected a recipe; for its images, 'featx init' writes one"])
    if not file.is_file():
        raise RecipeError(str(file), ["no such recipe; write one with 'featx init SOURCE' or name one with '-r PATH'"])
    return file


def load_recipe(path: str | Path | Recipe | None = None) -> Recipe:
    """Read and check a recipe; a loaded recipe is returned unchanged.

    Parameters
    ----------
    path
        Path of a recipe, ``PATH#PRESET`` for one of its presets, or a loaded recipe; by default that of `find_recipe`.

    Raises
    ------
    RecipeError
        The file has problems; the error lists all of them.
    DataError
        The recipe has no such preset.
    """
    if isinstance(path, Recipe):
        return path
    place, preset = _split_preset(path or os.environ.get(RECIPE_VARIABLE) or DEFAULT_RECIPE)
    recipe = _read_recipe(find_recipe(place))
    return recipe if preset is None else recipe.with_preset(preset)


def _split_preset(path: str | Path) -> tuple[Path, str | None]:
    """Return the path of a recipe and the preset after ``#``; a file whose name holds ``#`` has no preset."""
    place, mark, preset = str(path).rpartition("#")
    return (Path(place), preset) if mark and not Path(path).is_file() else (Path(path), None)


def _read_recipe(file: Path) -> Recipe:
    """Return the recipe in a file; errors are those of `load_recipe`."""
    try:
        content = parse_toml(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RecipeError(str(file), [f"is not TOML: {error}"]) from error
    except ParseError as error:
        raise RecipeError(str(file), [str(error)]) from error
    except OSError as error:
        raise RecipeError(str(file), [f"cannot be read: {error.strerror}"]) from error
    return parse_recipe(content, file)


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
    origin = {"name": file.stem, "folder": file.resolve().parent, "file": file, "variant": ""}
    key_problems = [f"{key}: no such key" for key in origin if key in content]
    try:
        recipe = Recipe.model_validate(content | origin)
    except ValidationError as error:
        raise RecipeError(str(file), [*key_problems, *describe_problems(error, Recipe)]) from error
    setting_problems = find_unsuited_settings(
        recipe.targets, recipe.groups, recipe.head, recipe.finetune, recipe.ensemble
    )
    checkpoint_problems = find_checkpoint_problems(recipe.targets, recipe.embedding, recipe.finetune, recipe.folder)
    repeated_networks = find_repeated_networks(recipe.finetune)
    if problems := [*key_problems, *setting_problems, *checkpoint_problems, *repeated_networks]:
        raise RecipeError(str(file), problems)
    return recipe
