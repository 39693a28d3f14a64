"""Greedy selection of members, with replacement.

References
----------
.. [1] R. Caruana et al., Ensemble selection from libraries of models, ICML 2004.
"""

import numpy as np

from featx.ensembles.combiners import Combiner, MemberOutputs, Outputs, VotingMethod
from featx.ensembles.fixed_rules import Mean
from featx.ensembles.member_weights import scaled
from featx.metrics.scores import chosen_metric, merit
from featx.specs.ensembling import EnsembleSpec
from featx.specs.head import Metric
from featx.tables.target_values import TargetValues

MOST_PICKS = 30
PATIENCE = 5  # picks without a gain, after which it ends


def select(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Begin with the best member and add, again and again, the one with which the mean scores best [1]_.

    A member may be picked several times, and weighs as often. The best mean on the way is kept, the smallest of
    equals. Where scores are equal the log loss, or of numbers the squared error, decides.
    """
    metric = chosen_metric(facts, spec.metric)
    tie_breaker: Metric = "rmse" if facts.kind == "numbers" else "log_loss"
    picks = np.zeros(len(ballots))
    total = np.zeros_like(ballots.outputs[0])
    best, kept, last_gain = (-np.inf, -np.inf), picks.copy(), 0
    for size in range(1, MOST_PICKS + 1):
        means = [(total + said) / size for said in ballots.outputs]
        of_means = [facts.decided_by(ballots.rule_of_mean((picks + one).tolist())) for one in np.eye(len(ballots))]
        scores = [_merit(metric, of_mean, mean) for of_mean, mean in zip(of_means, means, strict=True)]
        tied = [at for at, value in enumerate(scores) if value == max(scores)]
        finer = {at: _merit(tie_breaker, facts, means[at]) for at in tied}
        pick = max(tied, key=finer.__getitem__)
        picks[pick] += 1
        total += ballots.outputs[pick]
        if (scores[pick], finer[pick]) > best:
            best, kept, last_gain = (scores[pick], finer[pick]), picks.copy(), size
        if size - last_gain >= PATIENCE:
            break
    return Mean(weights=scaled(kept))


def _merit(metric: Metric, facts: TargetValues, outputs: Outputs) -> float:
    return float(np.nan_to_num(merit(metric, facts, outputs), nan=-np.inf))


greedy = VotingMethod(select, Mean)
