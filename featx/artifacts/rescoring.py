"""Updates of finished runs when val labels change: val scores and thresholds of prediction sets."""

from featx.artifacts.header import read_header, write_header_file
from featx.files.seals import write_sealed
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import scores
from featx.study.run_folder import RunFolder
from featx.study.study import Study

# Field of metrics.json with the state of the val labels and units that the scores were computed from.
VAL_STATE = "val_state"


def update_val_scores(study: Study, run: RunFolder) -> RunFolder:
    """Return a run after its val scores and thresholds have been updated to the current val labels.

    A head or network is not trained on val labels, so that its model and predictions stay valid when they change.
    Ensembles are trained on them; they are built again instead and returned unchanged here.
    """
    state = study.choosing_state(run.spec["target"])
    if run.is_ensemble or run.metrics.get(VAL_STATE) == state:
        return run
    truth, predictions = study.labels(run.spec["target"]), run.answers
    val = predictions.of("val")
    val_scores = scores(truth, val) if len(val.ids) else None
    _, header = read_header(run.path)
    metrics = {**header.metrics, "val": val_scores} if val_scores else header.metrics
    changes = {"conformal": ConformalSpec.of(truth, predictions, study.groups), "metrics": metrics}
    write_header_file(run.path, header.model_copy(update=changes))
    write_sealed(run.path / "metrics.json", {**run.metrics, "val": val_scores, VAL_STATE: state})
    return RunFolder(run.path)
