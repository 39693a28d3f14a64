"""Greedy selection of members, with replacement.

References
----------
.. [1] R. Caruana et al., Ensemble selection from libraries of models, ICML 2004.
"""

import numpy as np

from featx.ensembles.ballots import Ballots, Combiner, Outputs, Vote
from featx.ensembles.voting import Mean
from featx.ensembles.weights import scaled
from featx.facts import Facts
from featx.metrics import chosen_metric, merit
from featx.specs import EnsembleSpec, Metric

MOST_PICKS = 30
PATIENCE = 5  # picks without a gain, after which it ends


def select(ballots: Ballots, facts: Facts, spec: EnsembleSpec) -> Combiner:
    """Begin with the best member and add, again and again, the one with which the mean scores best [1]_.

    A member may be picked several times, and weighs as often. The best mean on the way is kept, the smallest of
    equals. Where scores are equal the log loss, or of numbers the squared error, decides.
    """
    metric = chosen_metric(facts, spec.metric)
    picks = np.zeros(len(ballots))
    total = np.zeros_like(ballots.outputs[0])
    best, kept, last_gain = (-np.inf, -np.inf), picks.copy(), 0
    for size in range(1, MOST_PICKS + 1):
        ranks = [_rank(metric, facts, (total + said) / size) for said in ballots.outputs]
        pick = max(range(len(ballots)), key=ranks.__getitem__)
        picks[pick] += 1
        total += ballots.outputs[pick]
        if ranks[pick] > best:
            best, kept, last_gain = ranks[pick], picks.copy(), size
        if size - last_gain >= PATIENCE:
            break
    return Mean(weights=scaled(kept))


def _rank(metric: Metric, facts: Facts, outputs: Outputs) -> tuple[float, float]:
    finer: Metric = "rmse" if facts.kind == "numbers" else "log_loss"
    values = (merit(name, facts, outputs) for name in (metric, finer))
    first, second = (float(np.nan_to_num(value, nan=-np.inf)) for value in values)
    return first, second


greedy = Vote(select, Mean)
