"""Extraction of a recipe's embeddings, and the tables of images, split and outcomes for the later stages."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from featx.embeddings.distributed import check_cluster, fill_by_workers
from featx.embeddings.engine import PassStatistics, workers_for
from featx.embeddings.external import ImportedVectors, import_vectors
from featx.embeddings.extraction_warnings import (
    clipped_images,
    copied_images,
    empty_parts,
    moved_images,
    precision_changes,
    remove_damaged_files,
)
from featx.embeddings.extraction_writing import needs_all_decoded, record_pending, write_extraction
from featx.embeddings.fill import NetworkPlan, fill, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.labelled_listing import assign_parts, read_listing
from featx.embeddings.outcomes import OUTCOMES, check_outside, quarantine, tabulate_outcomes
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.throughput import Throughput, rate_of_batches, record_throughput
from featx.embeddings.workers import Decoder, decode_images
from featx.errors import DataError
from featx.images.digests import DigestCache, ImageIdentity, identify_with_cache
from featx.images.readers import Listing
from featx.locations import resolve_source
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import Recipe
from featx.specs.sections import EmbeddingSection
from featx.specs.sequences import as_tuple
from featx.specs.validation import build_spec
from featx.study.embedding_lock import LockedEmbedding
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.extraction_tables import extraction_lock
from featx.study.study import Study
from featx.tables.manifest import Manifest
from featx.tables.truth import Truth

FAILED = ("unreadable", "missing")


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes
    ----------
    recipe
        Name of the recipe.
    n_found
        Number of files of the source, the sum of the six counts below.
    n_embedded, n_cached, n_duplicate, n_unreadable, n_missing, n_ignored
        Number of files with each outcome.
    n_read
        Number of images whose file was read for its digest; the others have a cached digest.
    seconds
        Duration of the call.
    images_per_s
        Images per second of the embedding alone, 0 where no image was embedded.
    times
        Busy seconds of each stage of the engine (`featx.embeddings.engine.StageTimes`).
    bottleneck
        The slowest stage and the way to a higher rate, in one line; empty if nothing was embedded.
    embeddings
        Name, number of features, store, precision and deviation of each embedding: that of a reduced precision from
        fp32, None in fp32.
    parts
        Number of images with an embedding in each part; empty without a split.
    label_problem
        Reason why there is no split, with the way out; empty if there is one.
    failures
        (id, outcome, reason) of each image without an embedding.
    ignored
        Rule → number of files that it left out.
    warnings
        Problems that did not stop the extraction, such as copies in several parts.
    pending_embeddings
        Names of embeddings by networks that are not trained yet.
    empty_classes
        ``target: class`` of each class without an embedded image.
    outcomes_file
        Path of the table of outcomes.
    """

    recipe: str
    n_found: int
    n_embedded: int
    n_cached: int
    n_duplicate: int
    n_unreadable: int
    n_missing: int
    n_ignored: int
    n_read: int
    seconds: float
    images_per_s: float
    times: dict[str, float]
    bottleneck: str
    embeddings: list[dict[str, Any]]
    parts: dict[str, int]
    label_problem: str
    failures: list[tuple[str, str, str]]
    ignored: dict[str, int]
    warnings: list[str]
    pending_embeddings: list[str]
    empty_classes: list[str]
    outcomes_file: str


def extract(  # noqa: PLR0913 (all but the first are keyword options, one for each of the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    backbones: Sequence[str] | str = (),
    engine: EngineSpec | None = None,
    drop_unlabelled: bool = False,
    on_error: Literal["skip", "fail"] | Path = "skip",
    cluster: ClusterSpec | None = None,
    progress: ProgressCallback = no_progress,
) -> Extraction:
    """Embed all images of a recipe that are not in the cache yet.

    Parameters
    ----------
    recipe
        The recipe, or its path; by default ``featx.toml``.
    backbones
        Backbones to embed with (last layer, average pooling) instead of the recipe's embeddings.
    engine
        Settings of the extraction; by default the recipe's ``[extraction]``.
    drop_unlabelled
        Whether to leave out images without a label; otherwise they are embedded, and `Extraction.label_problem` states
        why there is no split. ``data.drop_unlabelled`` does the same.
    on_error
        Treatment of unreadable images: ``skip`` them, ``fail`` (vectors stay in the cache, but no tables are written
        for the later stages), or the folder to move them to.
    cluster
        Dask workers that embed; by default this process embeds alone.
    progress
        Receives the progress of each stage.

    Raises
    ------
    DataError
        There are no images, no image can be read, or one cannot be read and `on_error` is ``fail``.
    WeightsError, UnknownNameError, DeviceError, ClusterError, CorruptError
        a network cannot be built or run; vectors that were stored before are kept.

    Notes
    -----
    Segments are published as they fill, so an interrupted extraction continues where it stopped.
    """
    start = time.perf_counter()
    study = Study.open(recipe)
    check_cluster(cluster)
    if isinstance(on_error, Path):
        check_outside(on_error, resolve_source(study.recipe.data.source, study.recipe.folder))
    requests = _requests(study, as_tuple(backbones))
    labels_state = study.labels_state()
    listing, truths, label_problem = read_listing(study, drop_unlabelled, progress)
    listing, identities, n_read = _identify_images(study, listing, progress)
    assigned_parts = assign_parts(study, listing, truths, label_problem)
    listing, truths, parts = assigned_parts.listing, assigned_parts.truths, assigned_parts.parts
    warnings = [*listing.warnings, *_compare_with_last_extraction(study, listing.manifest, parts, truths)]
    uris = listing.manifest.uris_by_digest
    selector = RuntimeSelector(study.cache, engine or study.recipe.extraction, uris, progress)
    ready_requests = [request for request in requests if not study.recipe.needs_untrained_network(request)]
    plans = plans_for(network_groups([item for item in ready_requests if item.vectors is None]), selector, study.locked)
    imported_vectors = import_vectors(study, ready_requests, listing.manifest, selector.engine.segment_rows, progress)
    locked_embeddings = [*(embedding for plan in plans for embedding in plan.locked), *imported_vectors.locked]
    warnings += [*imported_vectors.warnings, *precision_changes(study.locked, locked_embeddings)]
    record_pending(study, (embedding for plan in plans for embedding in plan.locked))
    statistics = _fill_stores(plans, uris, selector, cluster, progress) if plans else PassStatistics()
    if needs_all_decoded(study.recipe, locked_embeddings):
        _check_readable(study, uris, statistics, selector.engine, progress)
    warnings += filter(None, dict.fromkeys(plan.group.weights_note for plan in plans))
    warnings += clipped_images(listing.manifest, statistics.clipped, study.recipe.decoding)
    outcomes = _handle_failures(listing, _tabulate(listing, identities, statistics, imported_vectors), on_error)
    write_extraction(study, labels_state, assigned_parts, outcomes, locked_embeddings)
    return Extraction(
        recipe=study.recipe.name,
        n_read=n_read,
        seconds=round(time.perf_counter() - start, 3),
        embeddings=[_describe_embedding(study, embedding) for embedding in locked_embeddings],
        parts={} if parts is None else _count_parts(parts, outcomes),
        label_problem=assigned_parts.problem,
        ignored=dict(Counter(listing.ignored.values()).most_common()),
        warnings=warnings,
        pending_embeddings=[request.name for request in requests if request not in ready_requests],
        **_describe_pass(statistics),
        **_describe_outcomes(study, outcomes, truths),
    )


def _requests(study: Study, backbones: Sequence[str]) -> list[EmbeddingRequest]:
    """Return the embeddings to extract: those of the backbones, or the recipe's where none is named."""
    sections = [build_spec(EmbeddingSection, "--backbone", backbone=name) for name in backbones]
    requests = [study.recipe.completed(request) for section in sections for request in section.requests()]
    return requests or list(study.recipe.requests)


def _compare_with_last_extraction(
    study: Study, manifest: Manifest, parts: "pd.Series[str] | None", truths: Sequence[Truth]
) -> list[str]:
    """Remove damaged tables of the last extraction; return warnings about them, and about the parts if there are any.

    The parts are compared with those of the last extraction, and examined for copies and empty ones.
    """
    with extraction_lock(study.folder):
        warnings = remove_damaged_files(study)
        if parts is not None:
            warnings += moved_images(study, parts)
    if parts is not None:
        warnings += [*empty_parts(study, parts, truths[0]), *copied_images(manifest, parts, truths)]
    return warnings


def _identify_images(
    study: Study, listing: Listing, progress: ProgressCallback
) -> tuple[Listing, dict[str, ImageIdentity], int]:
    """Return the listing with digests, the identity of each image by id, and the number of images that were read."""
    manifest = listing.manifest
    identities: list[ImageIdentity] = []
    n_read = 0
    # Images whose outcome the reader has found already are not read.
    known_identities = {name: ImageIdentity("", *outcome) for name, outcome in listing.known.items()}
    is_open = np.array([name not in known_identities for name in manifest.ids], dtype=bool)
    uris, states = manifest.uris[is_open].tolist(), listing.states[is_open].tolist()
    with (
        DigestCache(study.cache.local_folder / "digests.sqlite") as cache,
        closing(identify_with_cache(uris, states, cache)) as results,
    ):
        for name in manifest.ids:
            identity, is_read = (known_identities[name], False) if name in known_identities else next(results)
            identities.append(identity)
            n_read += is_read
            if is_read or len(identities) == len(manifest):
                progress("read", len(identities), len(manifest))
    digests = np.array([identity.digest for identity in identities], dtype=object)
    if not digests.any():
        raise DataError(
            f"none of {len(manifest)} images can be read, first {manifest.ids[0]!r}: {identities[0].outcome}, "
            f"{identities[0].reason}; check data.source and data.labels"
        )
    manifest_with_digests = Manifest(manifest.ids, manifest.uris, manifest.labels, digests)
    return replace(listing, manifest=manifest_with_digests), dict(zip(manifest.ids, identities, strict=True)), n_read


def _fill_stores(
    plans: Sequence[NetworkPlan],
    uris: Mapping[str, str],
    selector: RuntimeSelector,
    cluster: ClusterSpec | None,
    progress: ProgressCallback,
) -> PassStatistics:
    """Embed the images that the stores lack, and record the rate."""
    incomplete_fingerprints = tuple(
        embedding.spec.fingerprint() for plan in plans if plan.missing(uris) for embedding in plan.locked
    )
    fill_stores = fill if cluster is None else partial(fill_by_workers, cluster)
    statistics = fill_stores(plans, uris, selector, progress)
    if incomplete_fingerprints and (rate := rate_of_batches(statistics.batch_s)):
        record_throughput(
            selector.cache.local_folder, Throughput(incomplete_fingerprints, len(statistics.embedded), rate)
        )
    return statistics


def _check_readable(
    study: Study, uris: Mapping[str, str], statistics: PassStatistics, engine: EngineSpec, progress: ProgressCallback
) -> None:
    """Decode the images that neither this pass nor the last extraction has decoded, and record those that fail."""
    with extraction_lock(study.folder):
        checked_digests = study.decoded_digests()
    checked_digests |= statistics.embedded | statistics.failed.keys()
    unchecked_images = [(digest, uri) for digest, uri in uris.items() if digest not in checked_digests]
    decoder = Decoder(study.recipe.decoding, ())
    workers, clipped = workers_for(engine), statistics.clipped
    with closing(decode_images(unchecked_images, decoder, workers, engine.batch_size, clipped)) as images:
        for number, (digest, pixels, _) in enumerate(images, start=1):
            if isinstance(pixels, str):
                statistics.failed[digest] = pixels
            n_failed = len(statistics.failed)
            progress("check images", number, len(unchecked_images), f"{n_failed} unreadable" if n_failed else "")


def _tabulate(
    listing: Listing,
    identities: Mapping[str, ImageIdentity],
    statistics: PassStatistics,
    imported_vectors: ImportedVectors,
) -> pd.DataFrame:
    """Return the outcome of each file, by the networks and the files of vectors together."""
    embedded_digests, failure_reasons = (
        statistics.embedded | imported_vectors.embedded,
        statistics.failed | imported_vectors.failed,
    )
    return tabulate_outcomes(
        listing, [identities[name] for name in listing.manifest.ids], embedded_digests, failure_reasons
    )


def _handle_failures(
    listing: Listing, outcomes: pd.DataFrame, on_error: Literal["skip", "fail"] | Path
) -> pd.DataFrame:
    """Raise an error for images without an embedding, or move their files, as `on_error` says; return the outcomes."""
    if isinstance(on_error, Path):
        return quarantine(listing, outcomes, on_error)
    failures = outcomes[outcomes["outcome"].isin(FAILED)]
    if on_error == "fail" and len(failures):
        first_failure = failures.iloc[0]
        raise DataError(
            f"{len(failures)} of {len(listing)} images have no embedding, first {first_failure['id']!r}: "
            f"{first_failure['reason']}; repair or remove them, or skip them ('featx extract --on-error skip')"
        )
    return outcomes


def _describe_embedding(study: Study, embedding: LockedEmbedding) -> dict[str, Any]:
    return {
        "name": embedding.request.name,
        "n_features": embedding.n_features,
        "store": study.store_path(embedding.spec),
        "precision": str(embedding.spec.precision),
        "deviation": embedding.deviation,
    }


def _count_parts(parts: "pd.Series[str]", outcomes: pd.DataFrame) -> dict[str, int]:
    """Return the number of images with an embedding in each part."""
    embedded_ids = outcomes.loc[outcomes["outcome"].isin(HAS_EMBEDDING), "id"]
    embedded_parts = parts.reindex(embedded_ids)
    return {part: int((embedded_parts == part).sum()) for part in ("train", "val", "test")}


def _describe_pass(statistics: PassStatistics) -> dict[str, Any]:
    n_embedded = len(statistics.embedded)
    return {
        "images_per_s": round(n_embedded / statistics.times.wall_s, 1) if n_embedded else 0.0,
        "times": asdict(statistics.times),
        "bottleneck": statistics.times.bottleneck() if n_embedded else "",
    }


def _describe_outcomes(study: Study, outcomes: pd.DataFrame, truths: Sequence[Truth]) -> dict[str, Any]:
    counts = outcomes["outcome"].value_counts()
    failures = outcomes[outcomes["outcome"].isin(FAILED)]
    return {f"n_{name}": int(counts.get(name, 0)) for name in OUTCOMES} | {
        "n_found": len(outcomes),
        "failures": list(failures.itertuples(index=False, name=None)),
        "empty_classes": _empty_classes(study, truths, failures["id"].tolist()),
        "outcomes_file": str(study.folder / "outcomes.parquet"),
    }


def _empty_classes(study: Study, truths: Sequence[Truth], failed_ids: Sequence[str]) -> list[str]:
    """Return ``target: class`` of the classes that have images, but none with an embedding."""
    class_texts = []
    for (name, target), truth in zip(study.recipe.targets.items(), truths, strict=True) if truths else ():
        if target.kind == "classes":
            is_embedded = ~np.isin(truth.ids.astype(str), np.array(failed_ids, dtype=str))
            codes = np.setdiff1d(truth.codes, truth.codes[is_embedded])
            class_texts += [f"{name}: {truth.classes[code]}" for code in codes.tolist()]
    return class_texts
