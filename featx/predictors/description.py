"""Descriptions of recipes and runs, and the cost of an ensemble's predictions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.artifacts.artifact import read_ensemble_body, read_member_headers
from featx.artifacts.header import Header, read_header
from featx.files.seals import HEADER_FILE
from featx.specs.recipe import Recipe, load_recipe
from featx.study.run_listing import RunSummary, find_finished_run, list_study_runs, summarize_run
from featx.study.study import Study
from featx.text.masking import mask_secrets_in_value


def describe(path: str | Path) -> dict[str, Any]:
    """Return the content of a recipe, defaults included, or the header of a run without golden inputs.

    Returns
    -------
    dict
        The fields; for an ensemble also its method, its members and its `ensemble_cost`.

    Raises
    ------
    RecipeError, ArtifactError
        The path is neither a recipe nor a run.
    """
    if Path(path).suffix == ".toml":
        description: dict[str, Any] = mask_secrets_in_value(load_recipe(path).model_dump(mode="json"))
        return description
    folder, header = read_header(path)
    fields = header.model_dump(mode="json", exclude={"golden"})
    if header.kind != "ensemble":
        return fields
    body = read_ensemble_body(folder, header)
    return fields | {"method": body["method"], "members": list(body["members"]), "cost": ensemble_cost(folder, header)}


@dataclass(frozen=True)
class RunDescription:
    """All that is shown about a run.

    Attributes
    ----------
    summary
        The run with its settings, scores and state.
    header
        Its header.
    cost
        `ensemble_cost`; empty for other runs, and for ensembles that lack a member.
    warnings
        Texts of its warnings.
    """

    summary: RunSummary
    header: Header
    cost: dict[str, int]
    warnings: list[str]


def describe_run(name: str | Path, recipe: str | Path | Recipe | None = None) -> RunDescription:
    """Return the description of a run: of a folder, or of the recipe's run whose name begins with `name`.

    Raises
    ------
    DataError, RecipeError, ArtifactError
        There is no such run, or its header cannot be read.
    """
    run = find_finished_run(name, recipe)
    header = read_header(run.path)[1]
    is_path = (Path(name) / HEADER_FILE).is_file()
    summary = (
        summarize_run(run, "damaged" if run.damage else "unknown", run.damage)
        if is_path
        else next(item for item in list_study_runs(Study.open(recipe)) if item.run == run.name)
    )
    cost = ensemble_cost(run.path, header) if header.kind == "ensemble" and run.has_all_members else {}
    warnings = [] if run.damage else [warning.text for warning in run.metrics.run_warnings]
    return RunDescription(summary, header, cost, warnings)


def ensemble_cost(folder: Path, header: Header) -> dict[str, int]:
    """Return the cost of a prediction by an ensemble.

    Returns
    -------
    dict
        ``n_models``: number of heads and networks among the members. ``n_embeddings``: number of different embeddings
        of the heads. ``n_networks``: number of networks that process each image, backbones and members. ``size_bytes``:
        size of all headers and bodies, without the backbones' weights.
    """
    headers = {folder: header} | read_member_headers(folder, header)
    models = [member for member in headers.values() if member.kind != "ensemble"]
    embeddings = {embedding.spec.fingerprint(): embedding for model in models for embedding in model.embeddings}
    requests = [embedding.request for embedding in embeddings.values()]
    backbones = {request.network_key for request in requests if request.vectors is None}
    files = [path / name for path, member in headers.items() for name in (HEADER_FILE, member.body)]
    return {
        "n_models": len(models),
        "n_embeddings": len(embeddings),
        "n_networks": len(backbones) + sum(model.kind == "network" for model in models),
        "size_bytes": sum(file.stat().st_size for file in files),
    }
