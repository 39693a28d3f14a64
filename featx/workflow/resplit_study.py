"""Studies that share the extracted tables of another study and differ from it in the split alone."""

import shutil

import pandas as pd

from featx.files.atomic import write_table
from featx.files.seals import write_sealed
from featx.study.embedding_lock import EMBEDDINGS
from featx.study.extraction_tables import SPLIT, seal_extraction
from featx.study.near_copy_table import COPIES, COPIES_STATE
from featx.study.split_state import split_state
from featx.study.study import Study

# Files of a study that do not depend on its split.
SHARED_FILES = ("manifest.parquet", "outcomes.parquet", EMBEDDINGS, "source.json", COPIES, COPIES_STATE)


def write_split_tables(study: Study, split_study: Study, parts: "pd.Series[str]") -> None:
    """Write the tables of an extraction into the folder of a study with another split.

    Parameters
    ----------
    study
        The study that was extracted.
    split_study
        The study with another split.
    parts
        Part of each image in it, indexed by id.
    """
    split_study.folder.mkdir(parents=True, exist_ok=True)
    for name in SHARED_FILES:
        if (study.folder / name).is_file():
            shutil.copy(study.folder / name, split_study.folder)
    write_table(split_study.folder / SPLIT, parts.rename_axis("id").rename("part").reset_index())
    write_sealed(split_study.folder / "split.json", split_state(split_study.recipe))
    seal_extraction(split_study.folder)
