"""Transformers on the toy backbone, random images, and the content of their caches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featx import ImageEmbedder
from featx.embeddings.files import EmbeddedFiles, FileEmbedder
from featx.specs.embedding import ResolvedEmbedding

# Number of features of the toy backbone.
D = 8


def embedder(**settings: Any) -> ImageEmbedder:
    return ImageEmbedder(**{"backbone": "toy", "weights": "none", "cache": Path("cache").absolute()} | settings)


def noise(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def embed_files(paths: Sequence[str], embeddings: Sequence[ResolvedEmbedding], device: str) -> EmbeddedFiles:
    return FileEmbedder(embeddings, device).embed_paths(paths)


def files(cache: Path) -> dict[str, int]:
    """Return path → modification time of the files of all stores."""
    return {str(path): path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*") if path.is_file()}


def n_rows(cache: Path) -> int:
    """Return the number of rows in all segments of the stores."""
    return sum(path.stat().st_size // 16 for path in cache.glob("*.zarr/segment-*/digest/c/0/0"))


class BuildCounter(NamedTuple):
    """A backbone, and a list that grows with each network that is built."""

    name: str
    builds: list[str]
