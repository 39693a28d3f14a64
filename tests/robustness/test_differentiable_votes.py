"""Votes as torch functions combine as the ensembles do, and have their gradients."""

import numpy as np
import pytest
import torch
from scipy.special import logit
from torch import Tensor

from featx.ensembles.combiners import MemberOutputs
from featx.errors import UnsuitedError
from featx.registry import ENSEMBLE_METHODS
from featx.robustness.differentiable_votes import make_differentiable_vote
from featx.specs.ensembling import EnsembleSpec
from featx.tables.ids import Kind
from featx.tables.target_values import TARGET_KINDS, TargetValues
from tests.ensemble_members import CLASSES, KINDS, members_of

WITHOUT_GRADIENT = {"majority"}
CASES = [
    (method, kind, stacker)
    for method in sorted(set(ENSEMBLE_METHODS.names()) - WITHOUT_GRADIENT)
    for kind in KINDS
    for stacker in (("logistic", "ridge") if method == "stacking" else (None,))
]


def members_and_scores(kind: Kind) -> tuple[MemberOutputs, TargetValues, Tensor]:
    """Return the outputs of three members, the truth, and the scores of the members."""
    tables, truth = members_of(kind)
    members = MemberOutputs.of(tables)
    values = members.outputs
    scores = np.log(values) if kind == "classes" else logit(values) if kind == "labels" else values
    return members, TargetValues.of(truth), torch.as_tensor(scores + 0.3 if kind == "classes" else scores)


@pytest.mark.parametrize(("method", "kind", "stacker"), CASES)
def test_a_vote_combines_as_the_ensemble(method: str, kind: Kind, stacker: str | None) -> None:
    voting = ENSEMBLE_METHODS.get(method)
    if kind not in voting.kinds or (stacker, kind) == ("logistic", "numbers"):
        pytest.skip(f"{method} does not combine {kind}")
    members, targets, scores = members_and_scores(kind)
    spec = EnsembleSpec(stacker=stacker)  # type: ignore[arg-type]
    combiner = voting.fit(members, targets, spec)
    expected = TARGET_KINDS[kind].normalise(combiner.outputs(members))
    vote = make_differentiable_vote(combiner, kind, tuple(CLASSES[kind]))
    combined = vote(scores)
    proba = combined.softmax(1) if kind == "classes" else combined.sigmoid() if kind == "labels" else combined
    np.testing.assert_allclose(proba.numpy(), expected, rtol=0, atol=1e-9)
    assert torch.autograd.gradcheck(vote, scores[:, :4].clone().requires_grad_(), atol=1e-6)


@pytest.mark.parametrize(("method", "stacker"), [("majority", None), ("stacking", "xgboost")])
def test_votes_without_gradients_are_refused(method: str, stacker: str | None) -> None:
    members, targets, _ = members_and_scores("classes")
    spec = EnsembleSpec(stacker=stacker)  # type: ignore[arg-type]
    combiner = ENSEMBLE_METHODS.get(method).fit(members, targets, spec)
    with pytest.raises(UnsuitedError, match="has no gradient; white-box attacks need"):
        make_differentiable_vote(combiner, "classes", tuple(CLASSES["classes"]))
