"""What the search for copies finds, and flags without reason, against its bound: python -m tests.benchmarks.copies.

On every second solar cell, each change with 160 copies; tests/slow/test_leakage.py proves the bound on the others.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import featx
from featx.embeddings import copies
from featx.evaluation import leaks
from featx.study.study import Study
from tests.planted import CHANGES, cells, found_copies, plant

BOUNDS = (0.9, 0.98, 0.985, 0.988, 0.99, 0.991, 0.992, 0.993, 0.994, 0.995, 0.996, 0.997, 0.998)
N_EACH = 160


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        table = plant(Path(folder), cells().iloc[::2], N_EACH, CHANGES, seed=7)
        featx.extract()
        copies.MIN_COPY_CORRELATION = -1.0  # all that are compared
        every = leaks.find_copies(Study.open(None)).frame
        flagged = found_copies(table, every)[1]
        print(f"hash and embedding alone: {flagged:.4f} of the cells have a candidate that is no copy")
        rows = {bound: found_copies(table, every[every["similarity"] >= bound]) for bound in BOUNDS}
        frame = pd.DataFrame({bound: recall for bound, (recall, _) in rows.items()}).T
        frame["flagged without reason"] = [alarms for _, alarms in rows.values()]
        print(frame.to_string(float_format=lambda value: f"{value:.4f}"))
        per_cell = every[every["kind"] == "near"].groupby("id")["similarity"].max()
        print(f"median similarity of a cell's most similar candidate: {np.median(per_cell):.3f}")


if __name__ == "__main__":
    main()
