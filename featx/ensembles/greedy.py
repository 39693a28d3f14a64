"""Greedy selection of members, with replacement.

References
----------
.. [1] R. Caruana et al., Ensemble selection from libraries of models, ICML 2004.
"""

import numpy as np

from featx.ensembles.combiners import Combiner, EnsembleMethod, MemberOutputs
from featx.ensembles.fixed_rules import Mean
from featx.ensembles.member_weights import normalise
from featx.metrics.definitions import LOSSES
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import resolve_metric, signed_score
from featx.specs.ensembling import EnsembleSpec
from featx.specs.head import Metric
from featx.tables.target_values import TargetValues

MAX_PICKS = 30
# Selection ends after this many picks without a better score.
MAX_PICKS_WITHOUT_GAIN = 5


def fit_greedy(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Return the mean of members that are picked one by one, each time the one that gives the best score [1]_.

    A member may be picked several times; its weight is the number of its picks. The best mean of all steps is
    returned, the first one of equal means. If scores are equal, the log loss decides, for numbers the squared error.
    """
    picks, best_size = _pick_members(members, targets, spec)
    return Mean(weights=normalise(np.bincount(picks[:best_size], minlength=len(members)).astype(float)))


def picked_members(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> set[int]:
    """Return the members that were picked, also behind the best mean: without any other the result is the same."""
    return set(_pick_members(members, targets, spec)[0])


def _pick_members(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> tuple[list[int], int]:
    """Return the members in the order in which they are picked, and the number of picks of the best mean."""
    metric = resolve_metric(targets, spec.metric)
    tie_breaker = LOSSES[targets.kind]
    n_picks = np.zeros(len(members))
    total = np.zeros_like(members.outputs[0])
    picks: list[int] = []
    best_score, best_size = (-np.inf, -np.inf), 0
    for size in range(1, MAX_PICKS + 1):
        means = [(total + outputs) / size for outputs in members.outputs]
        rules = [members.mean_rule((n_picks + pick).tolist()) for pick in np.eye(len(members))]
        pairs = zip(rules, means, strict=True)
        scores = [_finite_signed_score(metric, targets.decided_by(rule), mean) for rule, mean in pairs]
        tied_members = [member for member, score in enumerate(scores) if score == max(scores)]
        tie_scores = {member: _finite_signed_score(tie_breaker, targets, means[member]) for member in tied_members}
        pick = max(tied_members, key=tie_scores.__getitem__)
        picks.append(pick)
        n_picks[pick] += 1
        total += members.outputs[pick]
        if (scores[pick], tie_scores[pick]) > best_score:
            best_score, best_size = (scores[pick], tie_scores[pick]), size
        if size - best_size >= MAX_PICKS_WITHOUT_GAIN:
            break
    return picks, best_size


def _finite_signed_score(metric: Metric, targets: TargetValues, outputs: Outputs) -> float:
    return float(np.nan_to_num(signed_score(metric, targets, outputs), nan=-np.inf))


greedy = EnsembleMethod(fit_greedy, Mean, find_used=picked_members)
