"""Embed what is missing, and leave a recipe's images, split and outcomes for the stages that follow."""

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
from numpy.typing import NDArray

from featx.embeddings.distributed import check_cluster, fill_by
from featx.embeddings.engine import PassStatistics, workers_for
from featx.embeddings.fill import fill, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.outcomes import OUTCOMES, check_outside, outcomes_of, quarantine
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.throughput import Throughput, rate_of_batches, record_throughput
from featx.embeddings.workers import Decoder, decoded
from featx.errors import DataError
from featx.files.atomic import write_table
from featx.files.seals import read_sealed, write_sealed
from featx.images.digests import DigestCache, Identity, identified
from featx.images.image_selection import selected
from featx.images.readers import Listing, read_source
from featx.locations import source_place
from featx.progress import ProgressCallback, no_progress
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import EmbeddingSection, Recipe, checked_spec
from featx.storage.leases import remove_leftovers
from featx.study.embedding_lock import EMBEDDINGS, LockedEmbedding
from featx.study.extraction_tables import read_extracted, seal_extraction
from featx.study.splits import classes_without, split
from featx.study.study import Study
from featx.tables.encoding import strata
from featx.tables.manifest import Manifest
from featx.tables.truth import Truth
from featx.text.masking import without_secrets

FAILED = ("unreadable", "missing")


@dataclass(frozen=True)
class Extraction:
    """What an extraction found and did.

    Attributes
    ----------
    n_found
        Files of the source; the sum of the six that follow.
    seconds, images_per_s
        Of the whole call, and of the embedding alone (0 where there was nothing to do).
    times, verdict
        Seconds of each stage of the engine (`featx.embeddings.engine.Times`), and what they say in one line.
    n_read
        Images whose file was read for its digest; the others were known by size and time.
    embeddings
        Name, d, store, precision and drift (of a reduced precision from fp32; None in fp32) of each.
    parts
        Images of each part, those without an embedding left out.
    warnings
        What should be looked at: equal images in several parts or with different labels, folders without images.
    waiting
        Names of embeddings by networks that are still to be trained.
    failures
        (id, outcome, reason) of each image without an embedding.
    ignored
        Rule → the number of files that it left out.
    empty_classes
        ``target: class`` of each class whose images are all unreadable.
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
    verdict: str
    embeddings: list[dict[str, Any]]
    parts: dict[str, int]
    failures: list[tuple[str, str, str]]
    ignored: dict[str, int]
    warnings: list[str]
    waiting: list[str]
    empty_classes: list[str]
    outcomes_file: str


def extract(  # noqa: PLR0913 (all but the first are options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    backbones: Sequence[str] = (),
    engine: EngineSpec | None = None,
    drop_unlabelled: bool = False,
    on_error: Literal["skip", "fail"] | Path = "skip",
    cluster: ClusterSpec | None = None,
    progress: ProgressCallback = no_progress,
) -> Extraction:
    """Embed all images of a recipe that are not in the cache yet.

    Parameters
    ----------
    backbones
        Embed with these (last layer, averaged) instead of the recipe's embeddings.
    engine
        How to run; the recipe's ``[extraction]`` by default.
    drop_unlabelled
        Leave out images without a label instead of stopping at them; so does ``data.drop_unlabelled``.
    on_error
        What an unreadable image means: ``skip`` it, ``fail`` (nothing is left for the stages that follow, vectors
        stay), or a folder: move it there.
    cluster
        Dask workers that embed; this process alone by default.

    Raises
    ------
    DataError
        there are no images, labels or group columns do not fit the recipe, not one image can be read, or one cannot
        and `on_error` is ``fail``.
    WeightsError, UnknownNameError, DeviceError, ClusterError, CorruptError
        as they say; what was embedded before stays.

    Notes
    -----
    Segments are published as they fill, so an interrupted extraction goes on where it stopped.
    """
    start = time.perf_counter()
    study = Study.open(recipe)
    check_cluster(cluster)
    if isinstance(on_error, Path):
        check_outside(on_error, source_place(study.recipe.data.source, study.recipe.folder))
    said = [checked_spec(EmbeddingSection, "--backbone", backbone=name) for name in backbones]
    requests = [study.recipe.completed(request) for section in said for request in section.requests()]
    data, targets = study.recipe.data, study.recipe.targets
    drop_unlabelled = drop_unlabelled or data.drop_unlabelled
    found = read_source(data.model_copy(update={"drop_unlabelled": drop_unlabelled}), study.recipe.folder)
    found = selected(found, targets, study.recipe.split, drop_unlabelled)
    truths = [strata(found.manifest, name, target) for name, target in targets.items()]
    for column in study.recipe.groups.values():
        found.manifest.column(column)
    # Columns that do not fit the recipe are reported before images are read.
    split(found.manifest, truths[0], study.recipe.split)
    found, identities, n_read = _identified(study, found, progress)
    parts = split(found.manifest, truths[0], study.recipe.split)
    damaged = _without_damaged(study)
    moved = _moved(study, parts)
    uris: dict[str, str] = {}
    for digest, uri in zip(found.manifest.digests, found.manifest.uris, strict=True):
        if digest:
            uris.setdefault(digest, uri)  # of copies the first is embedded
    chooser = RuntimeSelector(study.cache, engine or study.recipe.extraction, uris, progress)
    asked = requests or study.recipe.requests
    waiting = [request for request in asked if study.recipe.waits_for(request)]
    plans = plans_for(network_groups([one for one in asked if one not in waiting]), chooser, study.locked)
    locked = [one for plan in plans for one in plan.locked]
    changed = _changed_precisions(study.locked, locked)
    lacking = tuple(one.spec.fingerprint() for plan in plans if plan.missing(uris) for one in plan.locked)
    embed = fill if cluster is None else partial(fill_by, cluster)
    passed = embed(plans, uris, chooser, progress) if plans else _looked_at(study, uris, chooser.engine, progress)
    if lacking and (rate := rate_of_batches(passed.batch_s)):
        record_throughput(study.cache.notes, Throughput(lacking, len(passed.embedded), rate))
    outcomes = outcomes_of(found, identities, passed.embedded, passed.failed)
    failures = outcomes[outcomes["outcome"].isin(FAILED)]
    if on_error == "fail" and len(failures):
        first = failures.iloc[0]
        raise DataError(
            f"{len(failures)} of {len(found)} images have no embedding, first {first['id']!r}: {first['reason']}; mend "
            "them, or go on without them ('--on-error skip')"
        )
    if isinstance(on_error, Path):
        outcomes = quarantine(found, outcomes, on_error)
        failures = outcomes[outcomes["outcome"].isin(FAILED)]
    _leave(study, found.manifest, parts, outcomes, locked)
    counts = outcomes["outcome"].value_counts()
    named = zip(targets.items(), truths, strict=True)
    classes = {name: truth for (name, target), truth in named if target.kind == "classes"}
    return Extraction(
        recipe=study.recipe.name,
        n_found=len(outcomes),
        **{f"n_{name}": int(counts.get(name, 0)) for name in OUTCOMES},
        n_read=n_read,
        seconds=round(time.perf_counter() - start, 3),
        images_per_s=round(len(passed.embedded) / passed.times.wall_s, 1) if passed.embedded else 0.0,
        times=asdict(passed.times),
        verdict=passed.times.verdict() if passed.embedded else "",
        embeddings=[
            {
                "name": one.request.name,
                "n_features": one.n_features,
                "store": study.store_path(one.spec),
                "precision": str(one.spec.precision),
                "drift": one.drift,
            }
            for one in locked
        ],
        parts={part: len(study.ids(part)) for part in ("train", "val", "test")},
        failures=list(failures.itertuples(index=False, name=None)),
        ignored=dict(Counter(found.ignored.values()).most_common()),
        warnings=[
            *found.warnings,
            *damaged,
            *changed,
            *moved,
            *_empty_parts(parts, truths[0], study),
            *_warnings(found.manifest, parts, truths),
        ],
        waiting=[one.name for one in waiting],
        empty_classes=_empty_classes(classes, failures["id"].tolist()),
        outcomes_file=str(study.folder / "outcomes.parquet"),
    )


def _without_damaged(study: Study) -> list[str]:
    """Remove the files of the last extraction that are not as they were written; return a line for each."""
    lines = []
    for file in study.damaged_extraction():
        file.unlink()
        lines.append(
            f"{file} was not as the last extraction left it and is made anew: it was changed, the extraction was "
            "interrupted, or another version of featx made it"
        )
    return lines


def _moved(study: Study, parts: "pd.Series[str]") -> list[str]:
    """Compare a split with that of the last extraction; say in a line each how many test and val images left theirs."""
    file = study.folder / "split.parquet"
    if not file.is_file():
        return []
    before = read_extracted(study.folder, file.name).set_index("id")["part"]
    after = parts.reindex(before.index)
    lines = []
    for part in ("test", "val"):
        left = (before == part) & after.notna() & (after != part)
        if n_left := int(left.sum()):
            others = ", ".join(f"{n} in {name}" for name, n in after[left].value_counts().items())
            lines.append(
                f"the split differs from that of the last extraction: of {int((before == part).sum())} {part} images "
                f"{n_left} are now elsewhere ({others}); {_why_moved(study)}"
            )
    return lines


def _why_moved(study: Study) -> str:
    """Say why images changed their part."""
    state = study.folder / "split.json"
    if not state.is_file() or read_sealed(state) != study.split_state():
        return "[split] of the recipe changed"
    if study.recipe.split.method == "train_test_split":
        return "images or labels changed; split.method = 'hash' keeps the part of each image"
    return "images, labels or groups changed"


def _empty_parts(parts: "pd.Series[str]", truth: Truth, study: Study) -> list[str]:
    """Say which parts that the recipe asks for have no image, or none of some classes."""
    spec, lines = study.recipe.split, []
    for part in ("test", "val"):
        if getattr(spec, part) == 0 and part not in set(parts):
            continue
        classes = classes_without(parts, truth, part)
        if part not in set(parts):
            what = f"no image is in {part}"
        elif classes and spec.stratify and len(truth.classes) > 1:
            what = f"{len(classes)} of {len(truth.classes)} classes have no image in {part}, first {classes[0]!r}"
        else:
            continue
        how = "" if spec.method == "train_test_split" else " or cut exact shares (split.method = 'train_test_split')"
        lines.append(f"{what}: scores there say nothing of them; add images{how}")
    return lines


def _identified(study: Study, found: Listing, progress: ProgressCallback) -> tuple[Listing, list[Identity], int]:
    """Return the listing with digests, each image's identity, and how many had to be read."""
    manifest = found.manifest
    identities: list[Identity] = []
    n_read = 0
    known = {name: Identity("", *outcome) for name, outcome in found.known.items()}
    asked = np.array([name not in known for name in manifest.ids], dtype=bool)
    uris, states = manifest.uris[asked].tolist(), found.states[asked].tolist()
    with (
        DigestCache(study.cache.notes / "digests.sqlite") as cache,
        closing(identified(uris, states, cache)) as answers,
    ):
        for name in manifest.ids:
            identity, read = (known[name], False) if name in known else next(answers)
            identities.append(identity)
            n_read += read
            if read or len(identities) == len(manifest):
                progress("read", len(identities), len(manifest))
    digests = np.array([identity.digest for identity in identities], dtype=object)
    if not digests.any():
        why = identities[0]
        raise DataError(
            f"none of {len(manifest)} images can be read, first {manifest.ids[0]!r}: {why.outcome}, {why.reason}; "
            "check data.source and data.labels"
        )
    whole = Manifest(manifest.ids, manifest.uris, manifest.labels, digests)
    return replace(found, manifest=whole), identities, n_read


def _looked_at(study: Study, uris: Mapping[str, str], engine: EngineSpec, progress: ProgressCallback) -> PassStatistics:
    """Decode images that are not known to be readable, where a recipe has networks and no embeddings."""
    passed = PassStatistics()
    known = study.readable()
    todo = [(digest, uri) for digest, uri in uris.items() if digest not in known]
    decoder = Decoder(study.recipe.decoding, ())
    with closing(decoded(todo, decoder, workers_for(engine), engine.batch_size)) as images:
        for number, (digest, found, _) in enumerate(images, start=1):
            if isinstance(found, str):
                passed.failed[digest] = found
            progress("look", number, len(todo), f"{len(passed.failed)} unreadable" if passed.failed else "")
    return passed


def _changed_precisions(before: Sequence[LockedEmbedding], now: Sequence[LockedEmbedding]) -> list[str]:
    """Word which embeddings are computed in another precision than by the extraction before."""
    earlier = {one.request: one.spec.precision for one in before}
    return [
        f"{one.request.name} was embedded in {earlier[one.request]}, and is embedded in {one.spec.precision} from now "
        f"on ({one.reason}); what was stored stays, and runs made on it have to be made anew; name a precision in the "
        "recipe ('precision = \"fp32\"') to keep it whatever images are added"
        for one in now
        if earlier.get(one.request, one.spec.precision) != one.spec.precision
    ]


def _empty_classes(truths: Mapping[str, Truth], failed: Sequence[str]) -> list[str]:
    """Return the classes that have images, and not one with an embedding."""
    found = []
    for name, truth in truths.items():
        usable = ~np.isin(truth.ids.astype(str), failed) if len(failed) else np.ones(len(truth.ids), dtype=bool)
        lost = np.setdiff1d(truth.codes, truth.codes[usable])
        found += [f"{name}: {truth.classes[code]}" for code in lost.tolist()]
    return found


def _warnings(manifest: Manifest, parts: "pd.Series[str]", truths: Sequence[Truth]) -> list[str]:
    """Describe equal images that are in several parts, have different labels, or are in train several times."""
    copied = (manifest.digests != "") & pd.Index(manifest.digests).duplicated(keep=False)
    digests = pd.Series(manifest.digests[copied], index=pd.Index(manifest.ids[copied]))
    columns: list[tuple[str, NDArray[Any]]] = [("are in several parts", parts.to_numpy())]
    columns += [("have different labels", truth.codes) for truth in truths]
    lines = []
    for what, values in columns:
        differing = pd.Series(values[copied]).groupby(digests.to_numpy()).nunique()
        if (torn := differing.index[differing > 1]).size:
            lines.append(f"{torn.size} images with copies {what}, first {_first_two(digests, torn[0])}")
    in_train = digests[(parts.reindex(digests.index) == "train").to_numpy()]
    repeated = in_train[in_train.duplicated(keep=False)]
    if len(repeated):
        lines.append(
            f"{repeated.nunique()} images are in train {len(repeated)} times, first "
            f"{_first_two(repeated, repeated.iloc[0])}; copies stay together in every fold"
        )
    return lines


def _first_two(digests: "pd.Series[str]", digest: str) -> str:
    return " and ".join(map(repr, digests.index[digests == digest][:2]))


def _leave(
    study: Study,
    manifest: Manifest,
    parts: "pd.Series[str]",
    outcomes: pd.DataFrame,
    locked: Sequence[LockedEmbedding],
) -> None:
    """Write what the stages that follow read."""
    remove_leftovers(study.folder)
    new = {one.request for one in locked}
    lock = [one.model_dump(mode="json") for one in study.locked if one.request not in new]
    lock += [one.model_dump(mode="json") for one in locked]
    frame = manifest.to_frame()
    frame["uri"] = [without_secrets(uri, study.recipe.data.source) for uri in frame["uri"]]
    write_table(study.folder / "manifest.parquet", frame)
    write_table(study.folder / "split.parquet", parts.rename_axis("id").reset_index())
    write_sealed(study.folder / "split.json", study.split_state())
    write_table(study.folder / "outcomes.parquet", outcomes)
    write_sealed(study.folder / EMBEDDINGS, {"embeddings": lock})
    write_sealed(study.folder / "source.json", study.labels_state())
    seal_extraction(study.folder)
