"""What stacking keeps as plain numbers answers as the estimators did that found them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.ensembles.combiners import MemberOutputs
from featx.ensembles.stacking import ALPHAS, STRENGTH, features, stack
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import Predictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import Truth
from tests.ballots import members_of


@pytest.mark.parametrize("k", [2, 3])
def test_coefficients_answer_as_scikit_learns_pipeline(k: int) -> None:
    members, known = members_of("classes", n=200)
    assert isinstance(known, Truth)
    rows = known.codes < k
    names = known.classes[:k]
    facts = TargetValues("classes", names, known.codes[rows])
    proba = [member.proba[rows][:, :k] for member in members if isinstance(member, Predictions)]
    said = np.stack([one / one.sum(axis=1, keepdims=True) for one in proba])
    ballots = MemberOutputs("classes", names, said)
    (x,) = features(ballots, "logistic")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000)).fit(x, facts.y)
    found = stack(ballots, facts, EnsembleSpec()).outputs(ballots)
    np.testing.assert_allclose(found, pipeline.predict_proba(x), atol=1e-9)


def test_ridge_answers_each_number_as_scikit_learns_pipeline() -> None:
    members, known = members_of("numbers", n=200)
    ballots, facts = MemberOutputs.of(members), TargetValues.of(known)
    found = stack(ballots, facts, EnsembleSpec()).outputs(ballots)
    for at, x in enumerate(features(ballots, "ridge")):
        np.testing.assert_array_equal(x, ballots.outputs[:, :, at].T)
        pipeline = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x, facts.y[:, at])
        np.testing.assert_allclose(found[:, at], pipeline.predict(x), atol=1e-9)
