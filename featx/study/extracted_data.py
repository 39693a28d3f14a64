"""The tables of the last extraction, compared with the recipe before they are used."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import IncompleteError
from featx.files.atomic import portable_file_state
from featx.files.seals import read_sealed
from featx.images.arrays import external_label_files
from featx.locations import is_url, label_file_states, resolve_source, split_archive_place
from featx.specs.embedding import EmbeddingSpec
from featx.specs.recipe import Recipe
from featx.storage.places import CachePlace
from featx.study.embedding_lock import LockedEmbedding, read_locked
from featx.study.extraction_tables import (
    EXTRACTION,
    SPLIT,
    check_has_split,
    damaged_files,
    read_decoding,
    read_extracted,
    read_label_problem,
)
from featx.study.folders import cache_of, place_of, runs_folder_of, store_path, study_folder
from featx.study.split_state import describe_split_change
from featx.study.variant_runs import describe_preset_runs
from featx.tables.manifest import Manifest
from featx.text.masking import mask_cell, mask_secrets_in_value, restore_secrets

HAS_EMBEDDING = ("embedded", "cached", "duplicate")
# Settings of a recipe that the tables depend on beside the data, by their key in the recorded state.
CHANGED_SETTINGS = {"chosen": "selection of images ('keep', 'drop', 'balance')", "bands": "[groups]"}


@dataclass(frozen=True)
class ExtractedData:
    """A recipe and the tables that ``featx extract`` wrote for it."""

    recipe: Recipe

    @property
    def cache(self) -> CachePlace:
        """The place of the cache: ``$FEATX_CACHE``, the recipe's, or ``cache/`` in its project folder."""
        folder, paths = self.recipe.folder, self.recipe.paths
        stores, local_folder = (
            place_of(variable, location, folder)
            for variable, location in (("FEATX_CACHE", paths.cache), ("FEATX_LOCAL_CACHE", paths.local_cache))
        )
        return cache_of(stores, local_folder, folder)

    @property
    def folder(self) -> Path:
        """The recipe's folder under ``runs/``."""
        return study_folder(self.recipe)

    def store_path(self, spec: EmbeddingSpec) -> str:
        """Return the folder or URL of one embedding's store."""
        return store_path(self.cache, spec)

    @cached_property
    def manifest(self) -> Manifest:
        """All images of the last extraction, without labels."""
        labelled_manifest = self._labelled
        return Manifest(
            labelled_manifest.ids, labelled_manifest.uris, labelled_manifest.labels[[]], labelled_manifest.digests
        )

    @cached_property
    def _labelled(self) -> Manifest:
        current_state = self.labels_state()
        recorded_state = read_sealed(self._extracted_file("source.json"), self._extract_again())
        if current_state != recorded_state:
            changes = [key for key, value in current_state.items() if value != recorded_state.get(key)]
            self._check_source_exists()
            setting_name = CHANGED_SETTINGS.get(changes[0] if len(changes) == 1 else "", "[data] or its label file")
            raise IncompleteError(
                f"the recipe's {setting_name} changed after the last extraction; {self._extract_first()}"
            )
        frame = self._table("manifest.parquet")
        frame["uri"] = [restore_secrets(uri, self.recipe.data.source) for uri in frame["uri"]]
        return Manifest.from_frame(frame)

    def _check_source_exists(self) -> None:
        place = resolve_source(self.recipe.data.source, self.recipe.folder)
        if not is_url(place) and not Path(split_archive_place(place)[0]).exists():
            raise IncompleteError(f"data.source {place!r} does not exist; put the images back, or correct data.source")

    def _relative(self, place: str) -> str:
        """Return a local place relative to the folder of runs, so that a project that is moved as a whole is intact."""
        return place if is_url(place) else os.path.relpath(place, runs_folder_of(self.recipe))

    def _table(self, name: str) -> pd.DataFrame:
        """Return one of the tables in `featx.study.extraction_tables.TABLES`."""
        self._extracted_file(EXTRACTION)
        if name == SPLIT:
            check_has_split(self.folder)
        self._extracted_file(name)
        return read_extracted(self.folder, name)

    @property
    def label_problem(self) -> str:
        """Reason why the last extraction made no split; empty if it made one."""
        return read_label_problem(self._extracted_file(EXTRACTION).parent)

    @cached_property
    def split(self) -> "pd.Series[str]":
        """The part of each image, by id."""
        frame = self._table(SPLIT)
        recorded_state = read_sealed(self._extracted_file("split.json"), self._extract_again())
        if change := describe_split_change(self.recipe, recorded_state):
            raise IncompleteError(f"{change} changed after the last extraction; {self._extract_first()}")
        return frame.set_index("id")["part"]

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """The outcome of each file: columns id, outcome, reason."""
        return self._table("outcomes.parquet")

    @property
    def n_images(self) -> int:
        """Number of images of the last extraction, unreadable and missing ones included, ignored files left out."""
        return int((self.outcomes["outcome"] != "ignored").sum())

    @property
    def failures(self) -> pd.DataFrame:
        """The rows of `outcomes` of images without an embedding: unreadable and missing ones."""
        return self.outcomes[~self.outcomes["outcome"].isin({*HAS_EMBEDDING, "ignored"})]

    @property
    def ignored(self) -> dict[str, int]:
        """Number of files of the last extraction that are no images of the study, by rule."""
        rules = self.outcomes.loc[self.outcomes["outcome"] == "ignored", "reason"]
        return {str(rule): int(n) for rule, n in rules.value_counts().items()}

    @cached_property
    def locked(self) -> tuple[LockedEmbedding, ...]:
        """The resolved specs of the last extraction; empty before the first one."""
        return read_locked(self.folder)

    def decoded_digests(self) -> set[str]:
        """Return the digests of the images that are known to be decodable by the recipe's ``[decoding]``."""
        if not all((self.folder / name).is_file() for name in ("manifest.parquet", "outcomes.parquet")):
            return set()
        if read_decoding(self.folder) != self.recipe.decoding.model_dump(mode="json"):
            return set()
        outcomes = self._table("outcomes.parquet")
        embedded_ids = set(outcomes.loc[outcomes["outcome"].isin(HAS_EMBEDDING), "id"])
        manifest = Manifest.from_frame(self._table("manifest.parquet"))
        return {
            digest
            for name, digest in zip(manifest.ids, manifest.digests, strict=True)
            if name in embedded_ids and digest
        }

    def labels_state(self) -> dict[str, Any]:
        """Return the state of the labels and the selection of images; a change requires a new extraction."""
        data, targets = self.recipe.reader_spec, self.recipe.targets
        label_states = label_file_states(data, self.recipe.folder)
        label_states += filter(None, map(portable_file_state, external_label_files(data, self.recipe.folder)))
        return {
            "data": mask_secrets_in_value(data.identity()),
            "source": mask_cell(self._relative(resolve_source(data.source, self.recipe.folder))),
            "labels": [[self._relative(file), *state] for file, *state in label_states],
            "chosen": {
                name: target.identity()
                for name, target in targets.items()
                if data.drop_unlabelled or target.keep or target.drop or target.balance != "none"
            },
            "bands": {name: group.identity() for name, group in self.recipe.groups.items() if group.bins is not None},
        }

    def damaged_extraction(self) -> list[Path]:
        """Return the files of the last extraction that were changed, or written by another version."""
        return damaged_files(self.folder)

    def _extract_first(self) -> str:
        return f"run 'featx extract' for recipe {self.recipe.name!r}{describe_preset_runs(self.recipe)}"

    def _extract_again(self) -> str:
        return f"{self._extract_first()} again"

    def _extracted_file(self, name: str) -> Path:
        if not (self.folder / name).is_file():
            raise IncompleteError(f"{self.folder} has no {name} yet; {self._extract_first()} first")
        return self.folder / name
