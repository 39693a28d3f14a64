"""Every score by kind of target, and `Scorer`, which computes them under any weights of the rows.

A score is a `MeanScore`, a function of sums over the rows, or a `RankingScore`, a function of the rows in the order of
their outputs. Both take many weightings of the rows at a time: ones give the plain score, confidences a weighted score,
the counts of a bootstrap draw the score of that draw, and group membership the score of a group.

Scores of decisions use the rule in `TargetValues.decision`; scores of probabilities do not. With soft labels, a row
counts for each class by the probability of that class.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from featx.metrics.class_scores import COUNT_SCORES, MACRO_F1, QUADRATIC_KAPPA
from featx.metrics.number_scores import NUMBER_SCORES, column_scores
from featx.metrics.ranking_scores import AVERAGE_PRECISION, ROC_AUC, mean_of_areas, rank_orders
from featx.metrics.row_scores import (
    ACCURACY,
    CLASS_BRIER,
    CLASSWISE_ECE,
    ECE,
    EXACT_MATCH,
    LABEL_BRIER,
    LOG_LOSS,
    MAE_STEPS,
)
from featx.metrics.score_kinds import MeanScore, Outputs, RankingScore, Score
from featx.specs.head import Metric
from featx.tables.ids import Floats, Kind
from featx.tables.target_values import TargetValues

# With two classes, the classwise error equals the expected calibration error of the second class.
_SCORES: dict[Kind, tuple[Score, ...]] = {
    "classes": (
        ACCURACY,
        *COUNT_SCORES,
        replace(ROC_AUC, name="auc_ovr"),
        LOG_LOSS,
        CLASS_BRIER,
        ECE,
        replace(CLASSWISE_ECE, is_defined=lambda targets: targets.n_outputs > 2),
        QUADRATIC_KAPPA,
        MAE_STEPS,
    ),
    "labels": (ACCURACY, EXACT_MATCH, MACRO_F1, AVERAGE_PRECISION, ROC_AUC, LOG_LOSS, LABEL_BRIER, ECE, CLASSWISE_ECE),
    "numbers": NUMBER_SCORES,
}
SCORES = {kind: {score.name: score for score in scores} for kind, scores in _SCORES.items()}
# The score that every model has whatever it was chosen by, and a loss that is convex in the outputs.
MAIN_SCORES: dict[Kind, Metric] = {"classes": "accuracy", "labels": "accuracy", "numbers": "mae"}
LOSSES: dict[Kind, Metric] = {"classes": "log_loss", "labels": "log_loss", "numbers": "rmse"}
# Beginning of the names of scores in which rows count by their weights.
WEIGHTED_PREFIX = "confidence_"


def find_score(name: str) -> Score:
    """Return the score of a name; that of one of several numbers, as ``mae.NAME``, is the score of all.

    A weighted score, as ``confidence_mae``, is the score of the same values.
    """
    stem = name.removeprefix(WEIGHTED_PREFIX).split(".")[0]
    return next(scores[stem] for scores in SCORES.values() if stem in scores)


def available_scores(targets: TargetValues) -> dict[str, Score]:
    """Return the scores that are defined for these rows, by name."""
    scores = {name: score for name, score in SCORES[targets.kind].items() if score.is_defined(targets)}
    if targets.kind == "numbers":
        scores |= {score.name: score for score in column_scores(targets)}
    return scores


class Scorer:
    """Computes scores of one model's n predictions under any weights of the rows.

    Parameters
    ----------
    targets
        True values of the n rows.
    outputs
        (n, k) class probabilities, (n, t) label probabilities, or (n, t) numbers.
    names
        Names of the scores; by default all that are defined for these rows.
    """

    def __init__(self, targets: TargetValues, outputs: Outputs, names: Sequence[str] | None = None) -> None:
        default_scores = available_scores(targets)
        all_scores = SCORES[targets.kind] | default_scores
        scores = default_scores if names is None else {name: all_scores[name] for name in names}
        self.targets, self.outputs, self._scores = targets, outputs, scores
        summed = [score for score in scores.values() if isinstance(score, MeanScore)]
        blocks = {score.rows: sparse.csr_array(score.rows(targets, outputs)) for score in summed}
        edges = np.cumsum([0, *(block.shape[1] for block in blocks.values())])
        self._column_slices = {rows: slice(*edges[i : i + 2]) for i, rows in enumerate(blocks)}
        self._columns = sparse.hstack(list(blocks.values()), format="csr").T if blocks else None
        self._orders = {
            name: rank_orders(targets, outputs, merges_positives=score.merges_positives)
            for name, score in scores.items()
            if isinstance(score, RankingScore)
        }

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def names(self) -> list[str]:
        """Names of the scores."""
        return list(self._scores)

    def at(self, weights: Floats) -> dict[str, Floats]:
        """Return each score under m weightings of the rows.

        Parameters
        ----------
        weights
            (n, m) weights of the rows, ≥ 0.

        Returns
        -------
        dict
            Name of each score → (m,) values; nan where the score is undefined.
        """
        sums = None if self._columns is None else self._columns @ weights
        total = weights.sum(0)
        values = {}
        for name, score in self._scores.items():
            if isinstance(score, MeanScore):
                assert sums is not None
                values[name] = score.finish(sums[self._column_slices[score.rows]], total)
            elif isinstance(score, RankingScore):
                # One order at a time, because each product is as large as the weights.
                orders = self._orders[name]
                areas = [score.area(order.positives @ weights, order.negatives @ weights) for order in orders]
                values[name] = mean_of_areas(areas)
        return values

    def plain(self, weights: Floats | None = None) -> dict[str, float]:
        """Return each score under one weighting: equal weights by default, or (n,) weights."""
        weights = np.ones(len(self)) if weights is None else weights
        return {name: float(values[0]) for name, values in self.at(weights[:, None]).items()}
