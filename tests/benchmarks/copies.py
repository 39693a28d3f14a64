"""Benchmark of the search for copies: recall and false alarms for each minimum correlation.

usage: python -m tests.benchmarks.copies

Every second solar cell is used, with 160 copies for each kind of change. tests/slow/test_leakage.py checks the chosen
minimum correlation on the other cells.
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

MIN_CORRELATIONS = (0.9, 0.98, 0.985, 0.988, 0.99, 0.991, 0.992, 0.993, 0.994, 0.995, 0.996, 0.997, 0.998)
N_EACH = 160


def main() -> None:
    """Print recall and false alarms for each minimum correlation."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        table = plant(Path(folder), cells().iloc[::2], N_EACH, CHANGES, seed=7)
        featx.extract()
        # With this minimum every compared pair is a candidate.
        copies.MIN_COPY_CORRELATION = -1.0
        candidates = leaks.find_copies(Study.open(None)).frame
        flagged_share = found_copies(table, candidates)[1]
        print(f"hash and embedding alone: {flagged_share:.4f} of the cells are falsely flagged")
        results = {
            min_correlation: found_copies(table, candidates[candidates["similarity"] >= min_correlation])
            for min_correlation in MIN_CORRELATIONS
        }
        frame = pd.DataFrame({min_correlation: recall for min_correlation, (recall, _) in results.items()}).T
        frame["falsely flagged"] = [alarms for _, alarms in results.values()]
        print(frame.to_string(float_format=lambda value: f"{value:.4f}"))
        per_cell = candidates[candidates["kind"] == "near"].groupby("id")["similarity"].max()
        print(f"median similarity of a cell's most similar candidate: {np.median(per_cell):.3f}")


if __name__ == "__main__":
    main()
