"""Descriptions of recipes and runs, and the cost of an ensemble's predictions."""

from pathlib import Path
from typing import Any

from featx.artifacts.artifact import read_ensemble_body, read_member_headers
from featx.artifacts.header import HEADER_FILE, Header, read_header
from featx.specs.recipe import load_recipe
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
        described: dict[str, Any] = mask_secrets_in_value(load_recipe(path).model_dump(mode="json"))
        return described
    folder, header = read_header(path)
    fields = header.model_dump(mode="json", exclude={"golden"})
    if header.kind != "ensemble":
        return fields
    body = read_ensemble_body(folder, header)
    return fields | {"method": body["method"], "members": list(body["members"]), "cost": ensemble_cost(folder, header)}


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
