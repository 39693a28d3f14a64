"""Embed what is missing, and leave a recipe's images, split and outcomes for the stages that follow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.disk import read_json, read_table, write_json, write_table
from featx.embeddings.fill import Filled, fill, network_groups, todo_of
from featx.embeddings.store import EmbeddingStore
from featx.errors import DataError
from featx.images.digests import Identity, identify_all
from featx.images.readers import read_source
from featx.images.splits import split
from featx.progress import Watch, unwatched
from featx.recipe import EmbeddingSection, Recipe, checked_spec
from featx.specs import EmbeddingRequest
from featx.tables import Manifest, Truth
from featx.targets import encode
from featx.workspace import HAS_EMBEDDING, LockedEmbedding, Study


@dataclass(frozen=True)
class Extraction:
    """What an extraction found and did.

    Attributes
    ----------
    n_found
        Images of the source; the sum of the five that follow.
    seconds, images_per_s
        Of the whole call, and of the embedding alone (0 where there was nothing to do).
    embeddings
        Name, d and store of each.
    parts
        Images of each part, those without an embedding left out.
    warnings
        What should be looked at: equal images in several parts, or with different labels.
    failures
        (id, outcome, reason) of each image without an embedding.
    """

    recipe: str
    n_found: int
    n_embedded: int
    n_cached: int
    n_duplicate: int
    n_unreadable: int
    n_missing: int
    seconds: float
    images_per_s: float
    embeddings: list[dict[str, Any]]
    parts: dict[str, int]
    failures: list[tuple[str, str, str]]
    warnings: list[str]
    outcomes_file: str


def extract(
    recipe: str | Path | Recipe | None = None,
    *,
    backbones: Sequence[str] = (),
    device: str = "auto",
    watch: Watch = unwatched,
) -> Extraction:
    """Embed all images of a recipe that are not in the cache yet.

    Parameters
    ----------
    backbones
        Embed with these (last layer, averaged) instead of the recipe's embeddings.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DataError
        there are no images, labels or group columns do not fit the recipe, or not one image can be read.
    WeightsError, UnknownNameError, DeviceError, CorruptError
        as they say; what was embedded before stays.

    Notes
    -----
    Segments are published as they fill, so an interrupted extraction goes on where it stopped.
    """
    start = time.perf_counter()
    study = Study.open(recipe)
    said = [checked_spec(EmbeddingSection, "--backbone", backbone=name) for name in backbones]
    requests = [request for section in said for request in section.requests()] or study.recipe.requests
    manifest = read_source(study.recipe.data, study.recipe.folder)
    truths = [encode(manifest, name, target) for name, target in study.recipe.targets.items()]
    for column in study.recipe.groups.values():
        manifest.column(column)
    parts = split(manifest, truths[0], study.recipe.split, _kept_split(study))
    manifest, identities = _identified(manifest, watch)
    locked, filled = _fill_all(study, requests, manifest, device, watch)
    outcomes = _outcomes(manifest, identities, filled)
    _leave(study, manifest, parts, outcomes, locked)
    counts = outcomes["outcome"].value_counts()
    failures = outcomes[~outcomes["outcome"].isin(HAS_EMBEDDING)]
    return Extraction(
        recipe=study.recipe.name,
        n_found=len(outcomes),
        **{f"n_{name}": int(counts.get(name, 0)) for name in (*HAS_EMBEDDING, "unreadable", "missing")},
        seconds=round(time.perf_counter() - start, 3),
        images_per_s=round(len(filled.embedded) / filled.seconds, 1) if filled.embedded else 0.0,
        embeddings=[
            {"name": one.request.name, "n_features": one.n_features, "store": str(study.store_path(one.spec))}
            for one in locked
        ],
        parts={part: len(study.ids(part)) for part in ("train", "val", "test")},
        warnings=_warnings(manifest, parts, truths),
        failures=list(failures.itertuples(index=False, name=None)),
        outcomes_file=str(study.folder / "outcomes.parquet"),
    )


def _kept_split(study: Study) -> "pd.Series[str] | None":
    """Return the parts given by earlier extractions; None at the first, or for another split or source."""
    file, state, source = (study.folder / name for name in ("split.parquet", "split.json", "source.json"))
    if not (file.is_file() and state.is_file() and source.is_file()) or read_json(state) != study.split_state():
        return None
    if read_json(source).get("source") != study.labels_state()["source"]:
        return None
    return read_table(file, "featx extract").set_index("id")["part"]


def _identified(manifest: Manifest, watch: Watch) -> tuple[Manifest, list[Identity]]:
    identities = []
    for identity in identify_all(manifest.uris.tolist()):
        identities.append(identity)
        watch("read", len(identities), len(manifest))
    digests = np.array([identity.digest for identity in identities], dtype=object)
    if not digests.any():
        why = identities[0]
        raise DataError(
            f"none of {len(manifest)} images can be read, first {manifest.ids[0]!r}: {why.outcome}, {why.reason}; "
            "check data.source and data.labels"
        )
    return Manifest(manifest.ids, manifest.uris, manifest.labels, digests), identities


def _fill_all(
    study: Study, requests: Sequence[EmbeddingRequest], manifest: Manifest, device: str, watch: Watch
) -> tuple[list[LockedEmbedding], Filled]:
    """Fill the stores of all requests, one pass over the images for each network."""
    uris = {digest: uri for digest, uri in zip(manifest.digests, manifest.uris, strict=True) if digest}
    every: list[LockedEmbedding] = []
    total = Filled()
    for group in network_groups(requests):
        locked = group.locked(study)
        stores = [EmbeddingStore(study.store_path(one.spec), one.spec, one.n_features) for one in locked]
        todo = [(digest, uri) for digest, uri in todo_of(stores, uris) if digest not in total.failed]
        filled = fill(group, stores, todo, device, watch)
        every += locked
        total.embedded |= filled.embedded
        total.failed |= filled.failed
        total.seconds += filled.seconds
    return every, total


def _outcomes(manifest: Manifest, identities: Sequence[Identity], filled: Filled) -> pd.DataFrame:
    """Return exactly one outcome for each image: columns id, outcome, reason."""
    first_of: dict[str, str] = {}
    rows = []
    for name, identity in zip(manifest.ids, identities, strict=True):
        digest = identity.digest
        if not digest:
            rows.append((name, identity.outcome, identity.reason))
        elif digest in filled.failed:
            rows.append((name, "unreadable", filled.failed[digest]))
        elif digest in first_of:
            rows.append((name, "duplicate", f"of {first_of[digest]}"))
        else:
            first_of[digest] = name
            rows.append((name, "embedded" if digest in filled.embedded else "cached", ""))
    return pd.DataFrame(rows, columns=["id", "outcome", "reason"])


def _warnings(manifest: Manifest, parts: "pd.Series[str]", truths: Sequence[Truth]) -> list[str]:
    """Word what equal images have that they should not."""
    columns: list[tuple[str, NDArray[Any]]] = [("stand in several parts", parts.to_numpy())]
    columns += [("have different labels", truth.codes) for truth in truths]
    known = manifest.digests != ""
    digests = pd.Series(manifest.digests[known], index=pd.Index(manifest.ids[known]))
    found = []
    for what, values in columns:
        differing = pd.Series(values[known]).groupby(digests.to_numpy()).nunique()
        if (torn := differing.index[differing > 1]).size:
            names = " and ".join(map(repr, digests.index[digests == torn[0]][:2]))
            found.append(f"{torn.size} images with copies {what}, first {names}")
    return found


def _leave(
    study: Study,
    manifest: Manifest,
    parts: "pd.Series[str]",
    outcomes: pd.DataFrame,
    locked: Sequence[LockedEmbedding],
) -> None:
    """Write what the stages that follow read."""
    new = {one.request for one in locked}
    lock = [one.model_dump(mode="json") for one in study.locked if one.request not in new]
    lock += [one.model_dump(mode="json") for one in locked]
    write_table(study.folder / "manifest.parquet", manifest.to_frame())
    write_table(study.folder / "split.parquet", parts.rename_axis("id").reset_index())
    write_json(study.folder / "split.json", study.split_state())
    write_table(study.folder / "outcomes.parquet", outcomes)
    write_json(study.folder / "embeddings.lock.json", lock)
    write_json(study.folder / "source.json", study.labels_state())
