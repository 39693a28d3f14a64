"""Exploration of a study or of a bare source: tables of facts about images and labels, and highlights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from featx.exploration.analyses import ANALYSES
from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_loading import ExploredSource, load_images, open_source
from featx.exploration.measurement import measure_images
from featx.exploration.projections import Method, check_method
from featx.file_names import file_name
from featx.files.atomic import write_table
from featx.files.spreadsheets import write_csv
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Exploration:
    """Results of all analyses of the explored images.

    Attributes
    ----------
    images
        The images, with their labels, parts, groups and measured properties.
    results
        Name of an analysis in `featx.exploration.analyses.ANALYSES` → its result.
    """

    images: ExploredImages
    results: Mapping[str, AnalysisResult]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables of all analyses by name."""
        return {name: table for result in self.results.values() for name, table in result.tables.items()}

    @property
    def highlights(self) -> list[Highlight]:
        """Highlights of all analyses, the most important first."""
        return sorted((item for result in self.results.values() for item in result.highlights), key=lambda h: h.rank)

    @property
    def notes(self) -> list[str]:
        """Limits of the exploration and reasons why analyses were not made, each once."""
        return list(dict.fromkeys(note for result in self.results.values() for note in result.notes))

    def write_tables(self, folder: Path) -> list[Path]:
        """Write each table as a Parquet and a CSV file, and return their paths.

        Raises
        ------
        OSError
            the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, table in self.tables.items():
            for suffix, write in ((".parquet", write_table), (".csv", write_csv)):
                paths.append(folder / f"{file_name(name)}{suffix}")
                write(paths[-1], table)
        return paths


def explore(
    source: str | Path | None = None,
    *,
    recipe: str | Path | Recipe | None = None,
    max_images: int | None = None,
    projection: Method = "tsne",
    progress: ProgressCallback = no_progress,
) -> Exploration:
    """Return tables of facts about the images and labels of a recipe or of a source; nothing is trained.

    Parameters
    ----------
    source
        A folder, an archive, an array file, a label table or a URL, recognised as by ``featx init``; no recipe is
        written. By default the source of the recipe.
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    max_images
        Number of images of an even sample to explore; by default all images.
    projection
        Method that projects the embedding to a map: ``tsne``, ``umap`` (an extra) or ``pca``.
    progress
        Receives the progress of each pass over the images.

    Raises
    ------
    DataError
        there are no images, none can be read, the recipe reads another source, or there is no such projection.
    MissingExtraError
        the projection is ``umap``, and umap-learn is not installed.
    """
    check_method(projection)
    explored_source = open_source(None if source is None else str(source), recipe)
    return explore_source(explored_source, max_images, progress, projection)


def explore_source(
    explored_source: ExploredSource, max_images: int | None, progress: ProgressCallback, projection: Method = "tsne"
) -> Exploration:
    """Return the results of all analyses of a source that `open_source` returned."""
    images = measure_images(load_images(explored_source, max_images, progress), progress)
    images = replace(images, projection=projection)
    return Exploration(images, {name: analyse(images, progress) for name, analyse in ANALYSES.items()})
