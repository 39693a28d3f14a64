"""Names of fine-tuned networks in backbones: ``checkpoint:`` and a section, a run of the recipe, or a path."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.files.seals import HEADER_FILE
from featx.registry import suggest_names
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.specs.finetuning import FinetuneSpec
from featx.specs.head import HeadSpec
from featx.specs.head_embeddings import rename_embeddings
from featx.specs.sections import EmbeddingSection, FinetuneSection
from featx.specs.target import TargetSpec


def section_of(backbone: str) -> str | None:
    """Return the section or run that a backbone names; None for a path, and for backbones that are no checkpoints."""
    name = backbone.removeprefix(CHECKPOINT_PREFIX)
    return None if name == backbone or "/" in name or "\\" in name else name


def find_checkpoint_problems(
    targets: Mapping[str, TargetSpec],
    embeddings: Sequence[EmbeddingSection],
    networks: Sequence[FinetuneSection],
    folder: Path,
) -> Iterator[str]:
    """Yield one message for each fine-tuned network that cannot be used as it is named, with the path of its key.

    Parameters
    ----------
    targets
        The recipe's targets.
    embeddings, networks
        The recipe's sections.
    folder
        Folder of the recipe, where relative paths of weights start.
    """
    yield from _problems_of_run_weights(embeddings, networks, folder)
    names = [section.name for section in networks if section.name is not None]
    for number, section in enumerate(networks):
        if section.name is not None and names.count(section.name) > 1:
            yield f"finetune[{number}].name: {names.count(section.name)} sections are called {section.name!r}"
    backbone_uses = [(f"embedding[{number}]", item.backbone, len(networks)) for number, item in enumerate(embeddings)]
    backbone_uses += [
        (f"finetune[{number}]", run.backbone, number) for number, item in enumerate(networks) for run in item.runs
    ]
    for key, backbone, n_before in dict.fromkeys(backbone_uses):
        section_name = section_of(backbone)
        matching_sections = [
            (number, section)
            for number, section in enumerate(networks)
            if section_name and section.name == section_name
        ]
        for number, section in matching_sections:
            if problem := _use_problem(section, targets, is_later=number >= n_before):
                yield f"{key}.backbone: section {section_name!r} {problem}"


def _problems_of_run_weights(
    embeddings: Sequence[EmbeddingSection], networks: Sequence[FinetuneSection], folder: Path
) -> Iterator[str]:
    """Yield one message for each section whose weights are the file of a run, which does not say what it learnt."""
    uses = [(f"embedding[{number}]", item.weights) for number, item in enumerate(embeddings)]
    uses += [(f"finetune[{number}]", run.weights) for number, item in enumerate(networks) for run in item.runs]
    for key, weights in dict.fromkeys(uses):
        run_folder = (folder / weights).resolve().parent
        if weights.endswith(".safetensors") and (run_folder / HEADER_FILE).is_file():
            yield (
                f"{key}.weights: {weights!r} is the file of a fine-tuned network of featx, whose training rows are "
                f"known by its run alone; expected backbone = '{CHECKPOINT_PREFIX}{run_folder}' and no "
                "weights"
            )


def _use_problem(section: FinetuneSection, targets: Mapping[str, TargetSpec], *, is_later: bool) -> str:
    """Return why a section cannot be a backbone; empty if it can."""
    if is_later:
        return "is trained later; move its [[finetune]] before this one"
    if len(section.runs) > 1:
        return f"has {len(section.runs)} runs, expected one; name a run with 'checkpoint:RUN'"
    learnable_names = [name for name, target in targets.items() if target.kind != "labels"]
    if section.target is None and len(learnable_names) > 1:
        return (
            f"has a run for each of {len(learnable_names)} targets, expected one; "
            f"set target = {learnable_names[0]!r} in it"
        )
    return ""


def resolve_checkpoint(backbone: str, networks: Sequence[FinetuneSection], folder: Path) -> str:
    """Return a backbone with the beginning of the path of the run's folder in place of a section or a run.

    Parameters
    ----------
    backbone
        Name of the backbone.
    networks
        The recipe's sections of networks.
    folder
        Folder of the recipe's runs.

    Raises
    ------
    ValueError
        There is no section and no run of this name.
    """
    name = section_of(backbone)
    if name is None:
        return backbone
    sections = [section.name for section in networks if section.name is not None]
    if name in sections:
        return f"{CHECKPOINT_PREFIX}{folder / name}-"
    runs = sorted(header.parent.name for header in folder.glob("[!.]*/header.json"))
    if not any(run.startswith(name) for run in runs):
        raise ValueError(
            f"no [[finetune]] section and no run is called {name!r}; {suggest_names(name, sections + runs)}"
        )
    return f"{CHECKPOINT_PREFIX}{folder / name}"


def sections_with_backbones(
    embeddings: Sequence[EmbeddingSection],
    networks: Sequence[FinetuneSection],
    heads: Sequence[HeadSpec],
    paths: Mapping[str, str],
) -> dict[str, Any]:
    """Return the sections of a recipe that name backbones, by their keys, with other names of them.

    Parameters
    ----------
    embeddings, networks, heads
        The sections of the recipe.
    paths
        Name of each backbone → its other name.
    """

    def renamed(embedding: str) -> str:
        backbone, slash, tap = embedding.partition("/")
        return paths[backbone] + slash + tap if backbone in paths else embedding

    def changed(section: EmbeddingSection | FinetuneSpec) -> Any:
        return section.model_copy(update={"backbone": paths[section.backbone]})

    changed_networks = [section.model_copy(update={"runs": tuple(map(changed, section.runs))}) for section in networks]
    return {
        "embedding": tuple(map(changed, embeddings)),
        "finetune": tuple(changed_networks),
        "head": rename_embeddings(heads, renamed),
    }
