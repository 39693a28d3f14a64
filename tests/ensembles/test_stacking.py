"""The stored numbers of a stack predict what scikit-learn's estimators predict."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.ensembles.combiners import MemberOutputs
from featx.ensembles.stacking import LOGISTIC_C, RIDGE_ALPHAS, features, fit_stack
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import Predictions
from featx.tables.target_values import ClassTargets, TargetValues
from featx.tables.truth import Truth
from tests.ensemble_members import members_of


@pytest.mark.parametrize("k", [2, 3])
def test_logistic_stacking_predicts_what_a_pipeline_predicts(k: int) -> None:
    members, truth = members_of("classes", n=200)
    assert isinstance(truth, Truth)
    rows = truth.codes < k
    names = truth.classes[:k]
    targets = ClassTargets(names, truth.codes[rows])
    proba = [member.proba[rows][:, :k] for member in members if isinstance(member, Predictions)]
    outputs = np.stack([values / values.sum(axis=1, keepdims=True) for values in proba])
    member_outputs = MemberOutputs("classes", names, outputs)
    (x,) = features(member_outputs, "logistic")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=LOGISTIC_C, max_iter=1000)).fit(x, targets.y)
    stack_outputs = fit_stack(member_outputs, targets, EnsembleSpec()).outputs(member_outputs)
    np.testing.assert_allclose(stack_outputs, pipeline.predict_proba(x), atol=1e-9)


def test_ridge_stacking_predicts_what_a_pipeline_predicts() -> None:
    members, truth = members_of("numbers", n=200)
    member_outputs, targets = MemberOutputs.of(members), TargetValues.of(truth)
    stack_outputs = fit_stack(member_outputs, targets, EnsembleSpec()).outputs(member_outputs)
    for column, x in enumerate(features(member_outputs, "ridge")):
        np.testing.assert_array_equal(x, member_outputs.outputs[:, :, column].T)
        pipeline = make_pipeline(StandardScaler(), RidgeCV(RIDGE_ALPHAS)).fit(x, targets.y[:, column])
        np.testing.assert_allclose(stack_outputs[:, column], pipeline.predict(x), atol=1e-9)
