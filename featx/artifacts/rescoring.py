"""Updates of finished runs when val labels change: val scores and thresholds of prediction sets."""

from typing import Any

from featx.artifacts.header import read_header, write_header_file
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import scores
from featx.study.ensemble_metrics import EnsembleMetrics
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics, NetworkMetrics, Scores
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions
from featx.tables.truth import AnyTruth


def score_val(truth: AnyTruth, predictions: AnyPredictions) -> Scores | None:
    """Return the scores on the val rows; None if there are none."""
    val = predictions.of("val")
    return scores(truth, val) if len(val.ids) else None


def update_val_scores(study: Study, run: RunFolder) -> RunFolder:
    """Return a run after its val scores and thresholds have been updated to the current val labels.

    A head or network is not trained on val labels, so that its model and predictions stay valid when they change.
    Ensembles are trained on them; they are built again instead and returned unchanged here.
    """
    state, metrics = study.val_state(run.spec.target), run.metrics
    if isinstance(metrics, EnsembleMetrics) or metrics.val_state == state or run.refit_of is not None:
        return run
    truth = study.labels(run.spec.target)
    update: dict[str, Any] = {"val": score_val(truth, run.predictions), "val_state": state}
    # Values after each epoch and after each tree cannot be computed from the predictions.
    if isinstance(metrics, NetworkMetrics):
        empty_fields: dict[str, Any] = {"val_loss": None, "val_scores": {}}
        update["epochs"] = tuple(epoch.model_copy(update=empty_fields) for epoch in metrics.epochs)
    elif isinstance(metrics, HeadMetrics) and metrics.trees is not None:
        update["trees"] = metrics.trees.model_copy(update={"val_loss": [], "val_score": []})
    metrics = metrics.model_copy(update=update)
    conformal = ConformalSpec.of(truth, run.predictions, study.groups)
    _, header = read_header(run.path)
    write_header_file(run.path, header.model_copy(update={"conformal": conformal, "metrics": metrics.scores_by_part}))
    metrics.write(run.path)
    return RunFolder(run.path)
