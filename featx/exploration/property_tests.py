"""Tests of how well a property of images predicts their label: scores on held-out rows, and permutation tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from featx.exploration.property_codes import WORDS, CodedProperty, Codes, NameWords

Floats = NDArray[np.float64]
N_PERMUTATIONS = 999
FOLDS = 5
# Images that each class seems to have in each bin beforehand, so that no probability is 0.
PRIOR_COUNT = 0.5


@dataclass(frozen=True)
class PropertyScore:
    """Score of one property as a predictor of the label.

    Attributes
    ----------
    name
        Name of the property.
    is_of_picture
        Whether the property follows from what a picture shows.
    label_code
        Code of the class that is best separated from all others.
    auroc
        Area under the ROC curve of that class against the others, on held-out rows.
    p
        Share of permutations of the labels that depend on the property at least as much, before any correction.
    word
        Word of the file names; empty for other properties.
    """

    name: str
    is_of_picture: bool
    label_code: int
    auroc: float
    p: float
    word: str = ""


def score_properties(
    y: Codes, properties: Sequence[CodedProperty], words: NameWords | None, seed: int
) -> list[PropertyScore]:
    """Return the score and the p-value of each property, and of the words of file names together.

    Parameters
    ----------
    y
        (n,) class codes 0 … k-1; each class has at least `FOLDS` rows.
    properties
        Properties of the n images.
    words
        Words of their names; None if there are none.
    seed
        Seed of folds and permutations.

    Notes
    -----
    The statistic of a property is the likelihood ratio of independence of its bins and the classes; the one of words is
    the largest standardised count of any word in any class, so that its p-value accounts for the choice of the word.
    """
    rng = np.random.default_rng(seed)
    k = int(y.max()) + 1
    tests = [_TableTest(item, k) for item in properties]
    word_test = _WordTest(words, y, k) if words is not None and words.words else None
    observed = [test.statistic(y) for test in tests]
    observed_words = word_test.z(y).max() if word_test else 0.0
    n_larger, n_larger_words = np.zeros(len(tests)), 0
    for _ in range(N_PERMUTATIONS):
        shuffled_y = rng.permutation(y)
        n_larger += [test.statistic(shuffled_y) >= value - 1e-9 for test, value in zip(tests, observed, strict=True)]
        if word_test:
            n_larger_words += bool(word_test.z(shuffled_y).max() >= observed_words - 1e-9)
    folds = _folds(y, seed)
    scores = [
        PropertyScore(test.item.name, test.item.is_of_picture, *_best_auroc(test.codes, y, folds), _p_value(n))
        for test, n in zip(tests, n_larger, strict=True)
    ]
    if word_test and words is not None:
        row = int(word_test.z(y).max(axis=1).argmax())
        best = _best_auroc(words.has_word[row].astype(np.int64), y, folds)
        scores.append(PropertyScore(WORDS, False, *best, _p_value(n_larger_words), words.words[row]))
    return scores


def _p_value(n_larger: float) -> float:
    return (1 + float(n_larger)) / (1 + N_PERMUTATIONS)


class _TableTest:
    """The dependence of a property's bins and the classes."""

    def __init__(self, item: CodedProperty, k: int) -> None:
        self.item = item
        self.codes = np.unique(item.codes, return_inverse=True)[1].astype(np.int64)
        self._k = k
        self._n_bins = int(self.codes.max()) + 1

    def statistic(self, y: Codes) -> float:
        """Return the part of the likelihood ratio that depends on the labels: Σ n log n over bins and classes."""
        counts = np.bincount(self.codes * self._k + y, minlength=self._n_bins * self._k)
        positive_counts = counts[counts > 0]
        return float((positive_counts * np.log(positive_counts)).sum())


class _WordTest:
    """Standardised counts of words in classes, under a random assignment of labels."""

    def __init__(self, words: NameWords, y: Codes, k: int) -> None:
        from scipy.sparse import csr_array

        n = len(y)
        self._has_word = csr_array(words.has_word, dtype=np.float64)
        self._eye = np.eye(k)
        n_word, n_class = words.has_word.sum(1)[:, None], np.bincount(y, minlength=k)[None]
        self._expected = n_word * n_class / n
        # Variance of the hypergeometric distribution.
        self._sd = np.sqrt(self._expected * (1 - n_class / n) * (n - n_word) / max(1, n - 1))

    def z(self, y: Codes) -> Floats:
        """Return the (w, k) absolute standardised counts."""
        counts = self._has_word @ self._eye[y]
        z: Floats = np.abs(counts - self._expected) / np.maximum(self._sd, 1e-12)
        return z


def _folds(y: Codes, seed: int) -> Codes:
    """Return the (n,) fold of each row, stratified by class."""
    fold = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, test_rows) in enumerate(splitter.split(np.zeros((len(y), 1)), y)):
        fold[test_rows] = number
    return fold


def _best_auroc(codes: Codes, y: Codes, folds: Codes) -> tuple[int, float]:
    """Return the class that the bins separate best from all others, and its AUROC on held-out rows."""
    k, n_bins = int(y.max()) + 1, int(codes.max()) + 1
    counts = np.bincount((folds * n_bins + codes) * k + y, minlength=FOLDS * n_bins * k).reshape(FOLDS, n_bins, k)
    fit_counts = counts.sum(0, keepdims=True) - counts + PRIOR_COUNT
    # Each class weighs the same, however many images it has.
    class_shares = fit_counts / fit_counts.sum(1, keepdims=True)
    proba = (class_shares / class_shares.sum(2, keepdims=True))[folds, codes]
    scores = [float(roc_auc_score(y == code, proba[:, code])) for code in range(k)]
    best = int(np.argmax(scores))
    return best, scores[best]
