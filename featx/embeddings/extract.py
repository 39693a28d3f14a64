"""Embed what is missing, and leave a recipe's images, split and outcomes for the stages that follow."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.disk import read_json, read_table, write_json, write_table
from featx.embeddings.batches import Failure, Todo, batched, decoded
from featx.embeddings.store import DEVICE_ROWS, EmbeddingStore
from featx.errors import DataError
from featx.images.decode import fit_to
from featx.images.digests import Identity, identify_all
from featx.images.readers import read_source
from featx.images.splits import split
from featx.progress import Watch, unwatched
from featx.recipe import Recipe
from featx.specs import EmbeddingRequest
from featx.tables import Manifest
from featx.targets import encode
from featx.workspace import HAS_EMBEDDING, LockedEmbedding, Study

SEGMENT_ROWS = 1024
SEGMENT_S = 30.0  # what a killed extraction loses at most


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
        Images of each part.
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
    outcomes_file: str

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return asdict(self)


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
        there are no images, labels do not fit the recipe, or not one image can be read.
    WeightsError, UnknownNameError, DeviceError, CorruptError
        as they say; what was embedded before stays.

    Notes
    -----
    Segments are published as they fill, so an interrupted extraction goes on where it stopped.
    """
    start = time.perf_counter()
    study = Study.open(recipe)
    requests = [EmbeddingRequest(backbone=name) for name in backbones] or list(study.recipe.requests)
    manifest = read_source(study.recipe.data, study.recipe.folder)
    truths = [encode(manifest, name, target) for name, target in study.recipe.targets.items()]
    parts = split(manifest, truths[0], study.recipe.split, _kept_split(study))
    manifest, identities = _identified(manifest, watch)
    filled = _fill_all(study, requests, manifest, device, watch)
    outcomes = _outcomes(manifest, identities, filled)
    _leave(study, manifest, parts, outcomes, filled)
    return _summary(study, outcomes, parts, filled, time.perf_counter() - start)


def _kept_split(study: Study) -> "pd.Series[str] | None":
    """Return the parts given by earlier extractions; None at the first one, or when ``[split]`` has changed."""
    file, state = study.folder / "split.parquet", study.folder / "split.json"
    if not file.is_file() or not state.is_file() or read_json(state) != study.split_state():
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


@dataclass
class Filled:
    """What becomes of the stores: which embeddings, which digests are new, which failed and why."""

    device: str
    watch: Watch
    locked: list[LockedEmbedding] = field(default_factory=list)
    embedded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def _fill_all(
    study: Study, requests: Sequence[EmbeddingRequest], manifest: Manifest, device: str, watch: Watch
) -> Filled:
    """Fill the stores of all requests, one pass over the images for each network."""
    uri_of = {digest: uri for digest, uri in zip(manifest.digests, manifest.uris, strict=True) if digest}
    groups: dict[EmbeddingRequest, list[EmbeddingRequest]] = {}
    for request in requests:
        groups.setdefault(request.network_key, []).append(request)
    filled = Filled(device, watch)
    for group in groups.values():
        locked = _locked(study, group)
        filled.locked += locked
        stores = [EmbeddingStore(study.store_path(one.spec), one.spec, one.n_features) for one in locked]
        wanted = dict.fromkeys(digest for store in stores for digest in store.missing(uri_of))
        todo = [(digest, uri_of[digest]) for digest in wanted if digest not in filled.failed]
        if todo:
            _fill(stores, group, todo, filled)
    return filled


def _locked(study: Study, group: Sequence[EmbeddingRequest]) -> list[LockedEmbedding]:
    """Return what each request resolves to: as noted the last time while that holds, else by building the network."""
    known = {one.request: one for one in study.locked if one.holds}
    if all(request in known for request in group):
        return [known[request] for request in group]
    from featx.networks.features import resolve

    resolved = resolve(group)
    return [
        LockedEmbedding(request=request, spec=spec, n_features=d, weights_file=resolved.weights_file)
        for request, spec, d in zip(group, resolved.specs, resolved.n_features, strict=True)
    ]


def _fill(
    stores: Sequence[EmbeddingStore],
    group: Sequence[EmbeddingRequest],
    todo: Todo,
    filled: Filled,
) -> None:
    """Send `todo` through one network; each store gets the rows that it lacks, segment by segment."""
    start = time.perf_counter()
    stage = f"embed {group[0].backbone}"
    n_done = 0

    def failed(failure: Failure) -> None:
        nonlocal n_done
        n_done += 1
        filled.failed[failure.digest] = failure.reason

    images = decoded(todo, fit_to(stores[0].spec.preprocessing))
    batches = batched(images, DEVICE_ROWS, failed)
    waiting: list[tuple[tuple[str, ...], list[NDArray[np.float32]]]] = []
    provenance: dict[str, Any] = {}
    published = time.perf_counter()
    try:
        for digests, columns in _embedded(batches, group, filled.device, provenance):
            waiting.append(_finite(digests, columns, filled))
            n_done += len(digests)
            filled.watch(stage, n_done, len(todo), f"{len(filled.failed)} unreadable" if filled.failed else "")
            late = time.perf_counter() - published > SEGMENT_S
            if late or sum(len(rows) for rows, _ in waiting) >= SEGMENT_ROWS:
                _publish(stores, waiting, provenance, filled)
                published = time.perf_counter()
    finally:  # on Ctrl-C as well: what is done is kept
        _publish(stores, waiting, provenance, filled)
        filled.seconds += time.perf_counter() - start


def _embedded(
    batches: Iterator[Any], group: Sequence[EmbeddingRequest], device: str, provenance: dict[str, Any]
) -> Iterator[tuple[tuple[str, ...], list[NDArray[np.float32]]]]:
    """Build the network when the first batch is there: files that cannot be decoded need none."""
    first = next(batches, None)
    if first is None:
        return
    from itertools import chain

    from featx.embeddings.devices import device_named, embed
    from featx.networks.features import resolve

    place = device_named(device)
    runtime = f"torch {version('torch')}"
    provenance |= {"device": str(place), "runtime": runtime, "featx": version("featx")}
    yield from embed(chain([first], batches), resolve(group).network, place)


def _finite(
    digests: tuple[str, ...], columns: list[NDArray[np.float32]], filled: Filled
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    good = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in columns])
    for at in np.flatnonzero(~good):
        filled.failed[digests[at]] = "the network gives values that are not finite"
    return tuple(text for text, fine in zip(digests, good, strict=True) if fine), [x[good] for x in columns]


def _publish(
    stores: Sequence[EmbeddingStore],
    waiting: list[tuple[tuple[str, ...], list[NDArray[np.float32]]]],
    provenance: dict[str, Any],
    filled: Filled,
) -> None:
    digests = [text for rows, _ in waiting for text in rows]
    if digests:
        for at, store in enumerate(stores):
            store.add(digests, np.concatenate([columns[at] for _, columns in waiting]), provenance)
        filled.embedded.update(digests)
    waiting.clear()


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


def _leave(study: Study, manifest: Manifest, parts: "pd.Series[str]", outcomes: pd.DataFrame, filled: Filled) -> None:
    """Write what the stages that follow read."""
    kept = [one for one in study.locked if one.request not in {new.request for new in filled.locked}]
    lock = [one.model_dump(mode="json") for one in [*kept, *filled.locked]]
    write_table(study.folder / "manifest.parquet", manifest.to_frame())
    write_table(study.folder / "split.parquet", parts.rename_axis("id").reset_index())
    write_json(study.folder / "split.json", study.split_state())
    write_table(study.folder / "outcomes.parquet", outcomes)
    write_json(study.folder / "embeddings.lock.json", lock)
    write_json(study.folder / "source.json", study.labels_state())


def _summary(
    study: Study, outcomes: pd.DataFrame, parts: "pd.Series[str]", filled: Filled, seconds: float
) -> Extraction:
    counts = outcomes["outcome"].value_counts()
    failures = outcomes[~outcomes["outcome"].isin(HAS_EMBEDDING)]
    by_outcome = {f"n_{name}": int(counts.get(name, 0)) for name in (*HAS_EMBEDDING, "unreadable", "missing")}
    return Extraction(
        recipe=study.recipe.name,
        n_found=len(outcomes),
        **by_outcome,
        seconds=round(seconds, 3),
        images_per_s=round(len(filled.embedded) / filled.seconds, 1) if filled.embedded else 0.0,
        embeddings=[
            {"name": one.request.name, "n_features": one.n_features, "store": str(study.store_path(one.spec))}
            for one in filled.locked
        ],
        parts={part: int((parts == part).sum()) for part in ("train", "val", "test")},
        failures=list(failures.itertuples(index=False, name=None)),
        outcomes_file=str(study.folder / "outcomes.parquet"),
    )
