"""Wrong labels that are planted in class codes, and how well a ranking finds them."""

import numpy as np
from sklearn.metrics import roc_auc_score

from featx.exploration.label_issues import LabelIssues, cross_validated_proba, find_label_issues
from featx.exploration.neighbours import Vectors
from featx.exploration.separability import measure_separability
from tests.exploration.all_neighbours import find_neighbours

Codes = np.ndarray[tuple[int], np.dtype[np.int64]]


def flip_to_any_class(codes: Codes, share: float, seed: int) -> Codes:
    """Return codes of which a share, drawn at random, is replaced by another class, drawn at random."""
    rng, flipped_codes, k = np.random.default_rng(seed), codes.copy(), codes.max() + 1
    rows = rng.choice(len(codes), round(share * len(codes)), replace=False)
    flipped_codes[rows] = (codes[rows] + rng.integers(1, k, len(rows))) % k
    return flipped_codes


def flip_to_similar_class(codes: Codes, vectors: Vectors, share: float, seed: int) -> Codes:
    """Return codes of which a share is replaced by the class with which neighbours confuse their class most."""
    rng, flipped_codes, k = np.random.default_rng(seed), codes.copy(), int(codes.max()) + 1
    confusion = measure_separability(vectors, codes, find_neighbours(vectors, 10), k).confusion
    np.fill_diagonal(confusion, -1)
    rows = rng.choice(len(codes), round(share * len(codes)), replace=False)
    flipped_codes[rows] = confusion.argmax(axis=1)[codes[rows]]
    return flipped_codes


def rank_labels(vectors: Vectors, codes: Codes, units: np.ndarray | None = None) -> LabelIssues:
    """Return the label issues without runs."""
    return find_label_issues(codes, find_neighbours(vectors, 20, units), cross_validated_proba(vectors, codes, units))


def flip_auroc(quality: np.ndarray, flipped_codes: Codes, codes: Codes) -> float:
    """Return the area under the ROC curve of the flipped labels against all others; low quality means flipped."""
    return float(roc_auc_score(flipped_codes != codes, -quality))
