"""Analysis of principal components of pixels and of embeddings, and positions of all images on a map."""

import io
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from featx.evaluation.group_membership import group_rows
from featx.exploration.analysis import AnalysisResult
from featx.exploration.explored_images import ExploredImages
from featx.exploration.labelled_vectors import reasons_without_vectors
from featx.exploration.projections import PrincipalComponents, principal_components, project
from featx.exploration.run_errors import best_run_errors
from featx.files.column_types import category_text
from featx.progress import ProgressCallback

# Side of the pictures whose pixels are compared.
PIXEL_SIDE = 16
# Value of a label of the test part.
SEALED = "sealed (test)"
LABEL, GROUP, ERROR = "label.", "group.", "error."


def analyse_map(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the variance of principal components of pixels and embeddings, and the position of each image."""
    tables: dict[str, pd.DataFrame] = {}
    facts: dict[str, Any] = {}
    notes: list[str] = []
    positions = pd.DataFrame(index=pd.Index(images.ids))
    if len(images.tiles) > 1:
        tile_rows = [row for row, digest in enumerate(images.digests) if digest in images.tiles]
        pixels = principal_components(tile_pixels(images, tile_rows), 2)
        tables["pixel_components"] = _share_table(pixels)
        positions = positions.join(_axes_frame(pixels, images.ids[tile_rows], "pixel"))
        facts["pixel_variance_shares"] = _cumulative(pixels)
    if images.embedded is not None and len(images.embedded.ids) > 1:
        progress("projection", 0, 1)
        embedded_images = images.embedded
        components = principal_components(embedded_images.vectors, 2)
        projection = project(embedded_images.coordinates, images.projection)
        points = pd.DataFrame(projection.points, columns=["x", "y"], index=pd.Index(embedded_images.ids))
        positions = positions.join(points).join(_axes_frame(components, embedded_images.ids, "embedding"))
        tables["embedding_components"] = _share_table(components)
        facts |= {
            "embedding": images.embedding_name,
            "embedding_variance_shares": _cumulative(components),
            "method": projection.method,
            "n_fitted": projection.n_fitted,
            "n_images": len(embedded_images.ids),
        }
        progress("projection", 1, 1)
    else:
        notes += reasons_without_vectors(images)
    if len(positions.columns):
        tables["map"] = _map_table(images, positions, facts)
    return AnalysisResult(tables, facts, notes=tuple(notes))


def tile_pixels(images: ExploredImages, rows: list[int]) -> NDArray[np.uint8]:
    """Return the pixels of small pictures of images, (n, 16 · 16 · 3)."""
    pixels = np.empty((len(rows), PIXEL_SIDE * PIXEL_SIDE * 3), dtype=np.uint8)
    for number, row in enumerate(rows):
        picture = Image.open(io.BytesIO(images.tiles[images.digests[row]])).convert("RGB")
        pixels[number] = np.asarray(picture.resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)).ravel()
    return pixels


def _share_table(components: PrincipalComponents) -> pd.DataFrame:
    shares = components.variance_shares
    return pd.DataFrame(
        {"component": np.arange(1, len(shares) + 1), "variance_share": shares, "cumulative_share": shares.cumsum()}
    )


def _cumulative(components: PrincipalComponents) -> dict[str, float]:
    """Return the share of the variance along the first 2, 10 and 50 axes."""
    sums = components.variance_shares.cumsum()
    return {str(n): float(sums[min(n, len(sums)) - 1]) for n in (2, 10, 50)}


def _axes_frame(components: PrincipalComponents, ids: NDArray[np.object_], name: str) -> pd.DataFrame:
    columns = [f"{name}_pc{number + 1}" for number in range(components.coordinates.shape[1])]
    return pd.DataFrame(components.coordinates.astype(np.float64), columns=columns, index=pd.Index(ids))


def _map_table(images: ExploredImages, positions: pd.DataFrame, facts: dict[str, Any]) -> pd.DataFrame:
    """Return one row per image: positions, part, labels, groups and errors of the best runs, as texts."""
    table = positions.rename_axis("id").reset_index()
    table["part"] = images.parts
    for target in images.truths:
        labels = _label_texts(images, target)
        labels[images.parts == "test"] = SEALED
        table[f"{LABEL}{target}"] = labels
    for name, values in images.groups.items():
        table[f"{GROUP}{name}"] = values.reindex(images.ids).map(category_text, na_action="ignore").to_numpy(object)
    for target in images.truths:
        errors = best_run_errors(images, target)
        if errors is not None:
            table[f"{ERROR}{target}"] = errors.error_texts.reindex(images.ids, fill_value=None).to_numpy(object)
            facts.setdefault("runs", {})[target] = errors.run
    return table


def _label_texts(images: ExploredImages, target: str) -> NDArray[np.object_]:
    """Return the true value of each image as text; of a target of one number its band, so that colours are few."""
    truth = images.truths[target]
    if truth.kind != "numbers" or len(truth.names) > 1:
        return images.label_texts(target).to_numpy(object, copy=True)
    membership = group_rows(target, pd.Series(truth.values[:, 0], index=pd.Index(truth.ids)).reindex(images.ids))
    return np.array([*membership.groups, None], dtype=object)[membership.codes]
