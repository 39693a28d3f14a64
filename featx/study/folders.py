"""The folders and URLs of a study: its cache, its runs, the stores of its embeddings."""

import os
from pathlib import Path

from featx.errors import DataError
from featx.file_names import file_name
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec
from featx.storage.places import DEFAULT_CACHE_FOLDER, STORE_SUFFIX, CachePlace, cache_at


def store_path(cache: CachePlace, spec: EmbeddingSpec) -> str:
    """Return the folder or URL of one embedding's store in a cache."""
    return cache.store(file_name(spec.backbone, spec.fingerprint()) + STORE_SUFFIX)


def cache_place(written: str | Path | None = None) -> CachePlace:
    """Return the place of the cache: the one named, else ``$FEATX_CACHE``, else ``cache``.

    Raises
    ------
    DataError
        The place is a URL that was converted to a `Path`.
    """
    return cache_at(written or os.environ.get("FEATX_CACHE") or DEFAULT_CACHE_FOLDER, os.environ.get("FEATX_NOTES"))


def runs_folder(written: str | Path | None = None) -> Path:
    """Return the folder that holds one folder per recipe: the one named, else ``$FEATX_RUNS``, else ``runs``.

    Raises
    ------
    DataError
        The folder is a URL.
    """
    place = str(written or os.environ.get("FEATX_RUNS") or "runs")
    if is_url(place):
        raise DataError(f"paths.runs: found {place!r}, expected a local folder; only the cache may lie behind a URL")
    return Path(place)
