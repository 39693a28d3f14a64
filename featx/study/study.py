"""What lies where: the cache, and one folder a recipe under ``runs/`` with what has been made for it.

::

    cache/<backbone>-<fingerprint>.zarr      one embedding, shared by all recipes
    runs/<recipe>/manifest.parquet           all images with their labels and digests
                 /split.parquet              the part of each
                 /outcomes.parquet           what became of each
                 /source.json, split.json    what they were made from
                 /extraction.json            their checksums, written last
                 /embeddings.lock.json       what was asked → the resolved specs
                 /looks.jsonl                every opening of the sealed test split (`featx.study.test_log`)
                 /report.html
                 /<run>/                     one finished run, written whole

Labels of the test split leave this module only through `Study.open_test`, which logs the look.
"""

import getpass
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from featx.errors import DataError, IncompleteError
from featx.file_names import file_name
from featx.files.atomic import file_state, machine, read_table, sha256_of, whole_folder, write_table
from featx.files.seals import read_sealed, write_sealed
from featx.locations import is_url, label_states, source_place
from featx.metrics.scores import GREATER_IS_BETTER, chosen_metric
from featx.specs.base import fingerprint
from featx.specs.embedding import EmbeddingSpec, ResolvedEmbedding
from featx.specs.head import Metric
from featx.specs.recipe import Recipe, load_recipe
from featx.storage.leases import remove_leftovers
from featx.storage.places import FOLDER, SUFFIX, CachePlace, cache_at
from featx.study.extraction_tables import EXTRACTION, damaged_files, read_extracted
from featx.study.run_folder import RULES, RunFolder
from featx.study.test_log import OpeningLog
from featx.tables.encoding import category_text, known
from featx.tables.ids import Ids, Kind
from featx.tables.manifest import Manifest
from featx.tables.resampling_units import joined
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Numbers, Truth
from featx.text.masking import masked, masked_values, with_secrets

WHAT_CHANGED = {
    "target": "answers another target",
    "split": "was made on other images or another split",
    "units": "was made with other groups or copies",
    "labels": "learnt from other labels or weights",
    "group_columns": "was weighted by other groups",
    "group_values": "was weighted by other groups",
    "val_labels": "learnt from other val labels",
    "val_units": "was made with other groups or copies in val",
}
EMBEDDINGS, BOUNDARIES = "embeddings.lock.json", "boundaries.lock.json"  # what heads and what networks stand on
COPIES, COPIES_STATE = "copies.parquet", "copies.json"
COPY_COLUMNS = ("digest", "copy", "similarity")
PARTS = ("train", "val", "test")
COPY_SEARCH_VERSION = 2  # of `featx.embeddings.copies`; copies found by another version are looked for again
HAS_EMBEDDING = ("embedded", "cached", "duplicate")


class LockedEmbedding(ResolvedEmbedding):
    """What one request was resolved to when it was last extracted.

    Attributes
    ----------
    weights_file
        Path, size in bytes and mtime in ns of the weights; None for random ones. While it holds, `spec` does.
    drift
        How far a reduced precision was found from fp32 (`featx.embeddings.precision.Drift`).
    reason
        What its precision was decided on (`featx.embeddings.runtime_selection.RuntimeSelector.reason`). `spec` holds as
        long as this does.
    """

    weights_file: tuple[str, int, int] | None
    drift: dict[str, float] | None = None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the weights still lie there, and what the spec says is still how featx does it."""
        current = EmbeddingSpec.model_fields
        if any(getattr(self.spec, name) != current[name].default for name in ("decode", "format")):
            return False
        return self.weights_file is None or file_state(self.weights_file[0]) == self.weights_file


class EmbeddingLock(BaseModel):
    """The content of the files that name what embeddings were resolved to."""

    embeddings: list[dict[str, Any]]


def read_locked(folder: Path) -> tuple[LockedEmbedding, ...]:
    """Return what the embeddings of a study's last extraction were resolved to; empty before the first."""
    path = folder / EMBEDDINGS
    if not path.is_file():
        return ()
    locked = read_sealed(path, "run 'featx extract' again", EmbeddingLock).embeddings
    try:
        return tuple(map(LockedEmbedding.model_validate, locked))
    except ValidationError:  # written by another version: the next extraction writes it anew
        return ()


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Pairs of contents that show the same picture.

    Attributes
    ----------
    pairs
        Columns digest, copy, similarity; one row a pair.
    n_unseen
        Images that could not be read any more, and were compared by content alone.
    n_unembedded
        Images without a cached vector, which were compared by hash alone.
    n_uncompared
        Images among which near copies were not looked for, because there are too many; 0 or all of them.
    """

    pairs: pd.DataFrame
    n_unseen: int = 0
    n_unembedded: int = 0
    n_uncompared: int = 0


def store_path(cache: CachePlace, spec: EmbeddingSpec) -> str:
    """Return the folder or URL of one embedding's store in a cache."""
    return cache.store(file_name(spec.backbone, spec.fingerprint()) + SUFFIX)


def cache_place(written: str | Path | None = None) -> CachePlace:
    """Return where embeddings are kept: what is named, else ``$FEATX_CACHE``, else ``cache``; ``$FEATX_NOTES`` as well.

    Raises
    ------
    DataError
        what is named was a URL once, and became a `Path`.
    """
    return cache_at(written or os.environ.get("FEATX_CACHE") or FOLDER, os.environ.get("FEATX_NOTES"))


def runs_folder(written: str | Path | None = None) -> Path:
    """Return the folder of recipes' folders: the one that is named, else ``$FEATX_RUNS``, else ``runs``.

    Raises
    ------
    DataError
        it is a URL.
    """
    place = str(written or os.environ.get("FEATX_RUNS") or "runs")
    if is_url(place):
        raise DataError(f"paths.runs: found {place!r}, expected a local folder; only the cache may lie behind a URL")
    return Path(place)


@dataclass(frozen=True)
class Study:
    """A recipe with what has been made for it so far."""

    recipe: Recipe

    @classmethod
    def open(cls, recipe: str | Path | Recipe | None) -> "Study":
        """Read the recipe (`featx.specs.recipe.find_recipe` says which)."""
        return cls(load_recipe(recipe))

    @property
    def cache(self) -> CachePlace:
        """Where embeddings are kept."""
        stores = self._place("FEATX_CACHE", self.recipe.paths.cache) or FOLDER
        return cache_at(stores, self._place("FEATX_NOTES", self.recipe.paths.notes))

    @property
    def folder(self) -> Path:
        """The recipe's folder under ``runs/``."""
        runs = runs_folder(self._place("FEATX_RUNS", self.recipe.paths.runs))
        return runs.joinpath(*map(file_name, self.recipe.name.split("/")))  # repeats lie below their recipe's folder

    def _place(self, variable: str, written: str | None) -> str | None:
        if variable in os.environ:
            return os.environ[variable]
        return str(self.recipe.folder / written) if written and not is_url(written) else written

    def store_path(self, spec: EmbeddingSpec) -> str:
        """Return the folder or URL of one embedding's store."""
        return store_path(self.cache, spec)

    # What extract left

    @cached_property
    def manifest(self) -> Manifest:
        """All images as the last extraction found them, their labels left out."""
        whole = self._labelled
        return Manifest(whole.ids, whole.uris, whole.labels[[]], whole.digests)

    @cached_property
    def _labelled(self) -> Manifest:
        now, then = self.labels_state(), read_sealed(self._made("source.json"), self._extract_again())
        if now != then:
            only_chosen = now == {**then, "chosen": now["chosen"]}
            what = "choice of images ('keep', 'balance')" if only_chosen else "[data] or its label file"
            raise IncompleteError(f"the recipe's {what} changed after the last extraction; {self._extract_first()}")
        frame = self._table("manifest.parquet")
        frame["uri"] = [with_secrets(uri, self.recipe.data.source) for uri in frame["uri"]]
        return Manifest.from_frame(frame)

    def _table(self, name: str) -> pd.DataFrame:
        """Return a table that extract left (`featx.study.extraction_tables.TABLES`)."""
        for file in (name, EXTRACTION):
            self._made(file)
        return read_extracted(self.folder, name)

    @cached_property
    def split(self) -> "pd.Series[str]":
        """The part of each image, by id."""
        frame = self._table("split.parquet")
        if read_sealed(self._made("split.json"), self._extract_again()) != self.split_state():
            raise IncompleteError(f"[split] changed after the last extraction; {self._extract_first()}")
        return frame.set_index("id")["part"]

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What became of each image: columns id, outcome, reason."""
        return self._table("outcomes.parquet")

    @cached_property
    def locked(self) -> tuple[LockedEmbedding, ...]:
        """What the embeddings of the last extraction were resolved to; empty before the first."""
        return read_locked(self.folder)

    def readable(self) -> set[str]:
        """Return the digests of images that the last extraction found readable; none before the first."""
        if not all((self.folder / name).is_file() for name in ("manifest.parquet", "outcomes.parquet")):
            return set()
        outcomes = self._table("outcomes.parquet")
        good = set(outcomes.loc[outcomes["outcome"].isin(HAS_EMBEDDING), "id"])
        whole = Manifest.from_frame(self._table("manifest.parquet"))
        return {digest for name, digest in zip(whole.ids, whole.digests, strict=True) if name in good and digest}

    def labels_state(self) -> dict[str, Any]:
        """Return what tells whether the source's labels, and the images chosen, are those of the last extraction."""
        data, targets = self.recipe.data, self.recipe.targets
        return {
            "data": masked_values(data.identity()),
            "source": masked(source_place(data.source, self.recipe.folder)),
            "labels": [list(state) for state in label_states(data, self.recipe.folder)],
            "chosen": {
                name: target.identity()
                for name, target in targets.items()
                if data.drop_unlabelled or target.keep or target.balance != "none"
            },
        }

    def split_state(self) -> dict[str, Any]:
        """Return what the split was made by."""
        return self.recipe.split.identity()

    def _extract_first(self) -> str:
        return f"run 'featx extract' for recipe {self.recipe.name!r}"

    def _extract_again(self) -> str:
        return f"{self._extract_first()} again"

    def damaged_extraction(self) -> list[Path]:
        """Return the files of the last extraction that are not as it wrote them, or that another version wrote."""
        return damaged_files(self.folder, ("source.json", "split.json", EMBEDDINGS))

    def _made(self, name: str) -> Path:
        if not (self.folder / name).is_file():
            raise IncompleteError(f"{self.folder} has no {name} yet; {self._extract_first()} first")
        return self.folder / name

    # Rows and labels

    def ids(self, part: str) -> Ids:
        """Return the ids of one part whose images have embeddings, in the manifest's order."""
        usable = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"]
        inside = self.split.reindex(usable).eq(part).to_numpy()
        return usable.to_numpy(object)[inside]

    def target_names(self, chosen: str | None = None) -> list[str]:
        """Return the recipe's targets, or the `chosen` one."""
        known = list(self.recipe.targets)
        if chosen is not None and chosen not in known:
            raise DataError(f"no target is called {chosen!r}; targets: {', '.join(known)}")
        return known if chosen is None else [chosen]

    def of_kind(self, kinds: Sequence[Kind], chosen: str | None = None) -> list[str]:
        """Return the recipe's targets of some kinds; a chosen one must be of them.

        Raises
        ------
        DataError
            there is none.
        """
        names = self.target_names(chosen)
        found = [name for name in names if self.recipe.targets[name].kind in kinds]
        if not found:
            kind = self.recipe.targets[names[0]].kind
            raise DataError(f"target {names[0]!r} is of {kind}, expected one of {' or '.join(kinds)} here")
        return found

    def _known(self, target: str) -> Known:
        return known(self._labelled, target, self.recipe.targets[target])

    def labels(self, target: str) -> Known:
        """Return the labels of all train and val rows; those of the test split stay sealed."""
        return self._known(target).take(np.concatenate([self.ids("train"), self.ids("val")]))

    def truth(self, target: str) -> Truth:
        """Return `labels` of a target of classes."""
        found = self.labels(target)
        assert isinstance(found, Truth)
        return found

    def numbers(self, target: str) -> Numbers:
        """Return `labels` of a target of labels or numbers."""
        found = self.labels(target)
        assert isinstance(found, Numbers)
        return found

    def metric(self, target: str) -> Metric:
        """Return the score that chooses between runs: the recipe's where it is one of this kind of target.

        Raises
        ------
        DataError
            it is of none of the recipe's targets.
        """
        facts, said = TargetValues.of(self.labels(target)), self.recipe.ensemble.metric
        others = {one.kind for one in self.recipe.targets.values()} - {facts.kind}
        of_others = said not in GREATER_IS_BETTER[facts.kind] and any(said in GREATER_IS_BETTER[one] for one in others)
        return chosen_metric(facts, None if of_others else said)

    # Units: rows that stay on one side of every cut

    @cached_property
    def contents(self) -> dict[str, str]:
        """Digest → uri of all images that have an embedding, in the order of digests; of equal files the first."""
        usable = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
        rows = self.manifest.take(usable)
        uris: dict[str, str] = {}
        for digest, uri in zip(rows.digests, rows.uris, strict=True):
            uris.setdefault(digest, uri)
        return dict(sorted(uris.items()))

    @property
    def first_embedding(self) -> LockedEmbedding | None:
        """The first of the recipe's embeddings that is extracted; None where none is."""
        extracted = {one.request: one for one in self.locked}
        return next((extracted[request] for request in self.recipe.requests if request in extracted), None)

    def copies_state(self) -> str:
        """Return 16 hex digits that change whenever what near copies are looked for by does."""
        first = self.first_embedding
        embedding = None if first is None else first.spec.fingerprint()
        return fingerprint([COPY_SEARCH_VERSION, list(self.contents), embedding, self.recipe.decoding.identity()])

    @property
    def knows_copies(self) -> bool:
        """Whether near copies have been looked for among today's images, and what was found is as it was written."""
        return self.copies_found() is not None

    def copies_found(self) -> NearCopies | None:
        """Return the near copies among today's images; None where a search for them is necessary."""
        try:
            fields = read_sealed(self.folder / COPIES_STATE)
            if fields.pop("state") != self.copies_state():
                return None
            return NearCopies(
                read_table(self.folder / COPIES, "featx leaks", COPY_COLUMNS, fields.pop("sha256")), **fields
            )
        except (IncompleteError, KeyError, TypeError):
            # It is not there yet, was changed, or another version wrote it.
            return None

    def keep_copies(self, copies: NearCopies) -> None:
        """Write the near copies among today's images."""
        write_table(self.folder / COPIES, copies.pairs)
        counts = {name: getattr(copies, name) for name in ("n_unseen", "n_unembedded", "n_uncompared")}
        state = {"state": self.copies_state(), "sha256": sha256_of(self.folder / COPIES)}
        write_sealed(self.folder / COPIES_STATE, state | counts)

    @cached_property
    def near_copies(self) -> NearCopies:
        """What `featx.embeddings.near_copies.find_near_copies` found among these images.

        Raises
        ------
        IncompleteError
            It has not been looked for them yet.
        """
        copies = self.copies_found()
        if copies is None:
            raise IncompleteError(
                f"copies among the images of recipe {self.recipe.name!r} have not been looked for yet; run 'featx fit' "
                "or 'featx leaks'"
            )
        return copies

    @cached_property
    def _units(self) -> "pd.Series[str]":
        """The unit of each image, by id: the first of the ids in it."""
        rows, by = self._labelled, self.recipe.split.by
        digests = pd.Series(rows.digests, dtype=object).replace("", None)
        keys = [digests.to_numpy(object)] + ([] if by is None else [rows.column(by).to_numpy(object)])
        first_row = pd.Series(np.arange(len(rows)), index=digests).groupby(level=0).first()
        pairs = self.near_copies.pairs
        i, j = (first_row.reindex(pairs[name]).to_numpy() for name in ("digest", "copy"))
        codes = joined(len(rows), keys, (i.astype(np.intp), j.astype(np.intp)))
        ids = pd.Series(rows.ids, index=pd.Index(rows.ids))
        return ids.groupby(codes).transform("first")

    def groups(self, ids: Ids) -> NDArray[Any] | None:
        """Return the unit of each id: rows of one group of ``split.by``, or copies of one image, have the same one.

        Returns
        -------
        numpy.ndarray or None
            (n,) names; None where no two of the ids are in one unit.
        """
        units = self._units.reindex(pd.Index(np.asarray(ids, dtype=object))).to_numpy(object)
        return None if pd.Index(units).is_unique else units

    def units_fingerprint(self, part: str) -> str:
        """Return 16 hex digits that change whenever rows of one part are joined into other units."""
        ids = np.sort(np.asarray(self.ids(part)).astype(str)).astype(object)
        units = self._units.reindex(pd.Index(ids))
        first = pd.Series(ids, index=units.index).groupby(units.to_numpy()).transform("first")
        return fingerprint(dict(zip(ids, first, strict=True)) if not first.is_unique else {})

    def group_values(self, ids: Ids) -> dict[str, "pd.Series[Any]"]:
        """Return the column of each of the recipe's groups, by the group's name, for some ids."""
        rows = self._labelled.take(ids)
        return {name: rows.column(column) for name, column in self.recipe.groups.items()}

    def manifest_of(self, ids: Ids) -> Manifest:
        """Return the rows of train and val images with their labels.

        Raises
        ------
        ValueError
            one is of the test split, whose labels are sealed.
        """
        if (self.split.reindex(pd.Index(ids)) == "test").any():
            raise ValueError("labels of the test split are sealed")
        return self._labelled.take(ids)

    def group_names(self, columns: Sequence[str], ids: Ids) -> NDArray[np.object_]:
        """Return the group of each id by some label columns, their values joined."""
        rows = self._labelled.take(ids)
        texts = [rows.column(column).map(category_text) for column in columns]
        return np.array([" × ".join(values) for values in zip(*texts, strict=True)], dtype=object)

    def open_test(self, target: str, runs: Sequence[str], who: str | None = None) -> Known:
        """Return the labels of the test split, and log who looked, when, and at which runs.

        Parameters
        ----------
        who
            The name to log; by default a hash of the login name, since reports show it.

        Raises
        ------
        DataError
            the split has no test rows.
        """
        ids = self.ids("test")
        if not len(ids):
            raise DataError("the split has no test rows; say 'split.test = 0.2' or give a test part")
        look = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "who": who or _hashed_login(),
            "target": target,
            "runs": list(runs),
        }
        OpeningLog(self.folder).append(look)
        return self._known(target).take(ids)

    def looks(self, target: str | None = None) -> list[dict[str, Any]]:
        """Return the log of openings of the test split."""
        looks = OpeningLog(self.folder).openings
        return [look for look in looks if target is None or look["target"] == target]

    def log_problems(self) -> list[str]:
        """Return what is wrong with the log of openings; empty where it is complete."""
        seals = []
        for file in self.folder.glob("final-*.json"):
            with suppress(IncompleteError, KeyError):
                seals.append(str(read_sealed(file)["opening"]))
        return OpeningLog(self.folder).problems(seals)

    def split_fingerprint(self) -> str:
        """Return 16 hex digits that change whenever a usable image changes its part or its content."""
        parts = {part: np.sort(np.asarray(self.ids(part)).astype(str)).astype(object) for part in PARTS}
        rows = {part: self.manifest.take(ids) for part, ids in parts.items()}
        return fingerprint({part: dict(zip(some.ids, some.digests, strict=True)) for part, some in rows.items()})

    def training_state(self, target: str, group_columns: Sequence[str] = ()) -> dict[str, Any]:
        """Return all that a run learns from in the data: it is part of the run's spec, and a run of another is stale.

        Parameters
        ----------
        group_columns
            Label columns of the groups that the run's rows are weighted by.
        """
        ids = np.sort(np.asarray(self.ids("train")).astype(str)).astype(object)
        groups = dict(zip(ids, self.group_names(group_columns, ids), strict=True)) if group_columns else {}
        return {
            "target": target,
            "split": self.split_fingerprint(),
            "units": self.units_fingerprint("train"),
            "labels": self.labels_fingerprint(target),
            "group_columns": list(group_columns),
            "group_values": fingerprint(groups),
        }

    def choosing_state(self, target: str) -> dict[str, Any]:
        """Return all that is learnt or measured on val in the data: labels, weights and units of its rows."""
        return {"val_labels": self.labels_fingerprint(target, "val"), "val_units": self.units_fingerprint("val")}

    def labels_fingerprint(self, target: str, part: str = "train") -> str:
        """16 hex digits that change whenever any label of one part does; the test part has none."""
        if part == "test":
            raise ValueError("labels of the test split are sealed")
        return self._labels_fingerprint(target, part)

    def _labels_fingerprint(self, target: str, part: str) -> str:
        truth = self._known(target).take(self.ids(part))
        if isinstance(truth, Truth):
            columns, others = [truth.codes, truth.weights, truth.shares], ["ordered"] if truth.ordered else []
        else:
            columns, others = [truth.values, truth.weights], []
        by_id = [dict(zip(truth.ids, of.tolist(), strict=True)) for of in columns if of is not None]
        return fingerprint([list(truth.names), *by_id, *others])

    def final_state(self, target: str) -> str:
        """Return 16 hex digits that change whenever anything in data or recipe does that a table of test scores shows.

        Labels of the test split are hashed, and nothing else of them leaves this method.
        """
        ids = np.concatenate([self.ids(part) for part in PARTS])
        groups = {name: column.map(category_text).to_dict() for name, column in self.group_values(ids).items()}
        states = [self.training_state(target), self.choosing_state(target), self.units_fingerprint("test"), groups]
        settings = [self.metric(target), self.recipe.evaluation.identity()]
        return fingerprint([*states, self._labels_fingerprint(target, "test"), *settings])

    # Runs

    def run_once(
        self, stem: str, asked: dict[str, Any], force: bool, make: Callable[[Path], None]
    ) -> tuple[RunFolder, bool]:
        """Return the run that answers `asked`, and whether it was made just now.

        Parameters
        ----------
        stem
            How the run's name begins, made safe by `featx.file_names`; the fingerprint of `asked` ends it.
        force
            Make it again where it is there.
        make
            Fills the run's folder, ``spec.json`` left out.

        Raises
        ------
        IncompleteError
            The run is there and is damaged.
        """
        folder = self._run_path(stem, asked)
        made = force or self.find_run(stem, asked) is None
        if made:
            remove_leftovers(self.folder)
            with whole_folder(folder) as private:
                make(private)
                write_sealed(private / "spec.json", asked)
        run = RunFolder(folder)
        if not made and run.damage:
            raise IncompleteError(run.damage)
        return run, made

    def _run_path(self, stem: str, asked: dict[str, Any]) -> Path:
        return self.folder / file_name(stem, fingerprint(asked)[:8])

    def find_run(self, stem: str, asked: dict[str, Any]) -> RunFolder | None:
        """Return the run that `run_once` would, if it has been made."""
        folder = self._run_path(stem, asked)
        return RunFolder(folder) if (folder / "header.json").is_file() else None

    def has_runs(self, target: str) -> bool:
        """Whether `runs` finds some of a target."""
        try:
            return bool(self.runs(target))
        except IncompleteError:
            return False

    def _run_folders(self) -> list[RunFolder]:
        return [self._run_folder(path.parent) for path in sorted(self.folder.glob("[!.]*/header.json"))]

    def _run_folder(self, path: Path) -> RunFolder:
        """Return a run's folder; its files are read and compared with their checksums once until one changes."""
        files = tuple(sorted(str(file_state(file)) for file in path.iterdir()))
        if path not in self._read_runs or self._read_runs[path][0] != files:
            self._read_runs[path] = files, RunFolder(path)
        return self._read_runs[path][1]

    @cached_property
    def _read_runs(self) -> dict[Path, tuple[tuple[str, ...], RunFolder]]:
        return {}

    def damaged(self) -> list[RunFolder]:
        """Return the finished runs of which a file is missing, cut short or edited; `RunFolder.damage` says which."""
        return [run for run in self._run_folders() if run.damage]

    def runs(self, target: str | None = None, names: Sequence[str] | None = None) -> list[RunFolder]:
        """Return the finished runs that the recipe's current split and labels allow to compare, oldest first.

        Ensembles whose members have been removed or made again since are left out, and so are `damaged` runs.

        Parameters
        ----------
        target
            Only those of one target.
        names
            Only those with these names, or whose names begin so.

        Raises
        ------
        IncompleteError
            there are none.
        DataError
            a name fits none.
        """
        split, folders = self.split_fingerprint(), self._run_folders()
        damaged, every = [run for run in folders if run.damage], [run for run in folders if not run.damage]
        stale = self._reasons(every, split, self.target_names(target))
        fitting = [run for run in every if not stale[run.name]]
        if names is not None:
            for name in names:
                if broken := [run for run in damaged if run.name.startswith(name)]:
                    raise IncompleteError(broken[0].damage)
                if not any(run.name.startswith(name) for run in fitting):
                    known = ", ".join(run.name for run in fitting) or "none"
                    others = [stale[run.name] for run in every if run.name.startswith(name)]
                    reason = others[0] if others else f"no finished run is called {name!r}"
                    raise DataError(f"{reason}; runs on this split: {known}")
            fitting = [run for run in fitting if any(run.name.startswith(name) for name in names)]
        if not fitting:
            if damaged:
                raise IncompleteError(damaged[0].damage)
            left_out = f" of today's data ({len(every)} others: {stale[every[0].name]})" if every else ""
            raise IncompleteError(
                f"{self.folder} has no finished run{left_out}; run 'featx fit' or 'featx finetune' first"
            )
        return sorted(fitting, key=lambda run: run.metrics["finished"])

    def _reasons(self, runs: Sequence[RunFolder], split: str, targets: Sequence[str]) -> dict[str, str]:
        """Return why each run is stale, by name; an ensemble is as well if one of its members is."""
        by_name = {run.name: run for run in runs}
        reasons: dict[str, str] = {}

        def reason(run: RunFolder) -> str:
            if run.name not in reasons:
                reasons[run.name] = self._why_stale(run, split, targets)
                if not reasons[run.name] and any(reason(by_name[name]) for name in run.members if name in by_name):
                    reasons[run.name] = f"{run.name} is an ensemble of runs that have changed since"
            return reasons[run.name]

        return {run.name: reason(run) for run in runs}

    def _why_stale(self, run: RunFolder, split: str, targets: Sequence[str]) -> str:
        """Say why a finished run cannot be compared with those of today's data; empty where it can."""
        if run.is_unsealed:
            return f"{run.name} was made by another version of featx"
        own = run.spec["target"]
        if own not in targets:
            return f"{run.name} answers target {own!r}, expected {' or '.join(map(repr, targets))}"
        if run.spec.get("rules") != RULES.get(run.kind):
            return f"{run.name} was made by another version of featx"
        if run.spec["split"] != split:
            return f"{run.name} {WHAT_CHANGED['split']}"
        current = self._training_state(own, tuple(run.spec.get("group_columns", ())))
        if run.is_ensemble:
            current = current | self.choosing_state(own)
        changed = [key for key, value in current.items() if run.spec.get(key) != value]
        if changed:
            return f"{run.name} {WHAT_CHANGED[changed[0]]}"
        return "" if run.has_all_members else f"{run.name} is an ensemble of runs that have changed since"

    def _training_state(self, target: str, group_columns: tuple[str, ...]) -> dict[str, Any]:
        if (target, group_columns) not in self._states:
            self._states[target, group_columns] = self.training_state(target, group_columns)
        return self._states[target, group_columns]

    @cached_property
    def _states(self) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
        return {}


def _hashed_login() -> str:
    """Return ``user`` and 8 hex digits that tell the users of one machine apart and do not name them."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have a number and no name
        login = f"uid {os.getuid()}"
    return f"user {fingerprint([login, machine()])[:8]}"
