"""What a finished run says of val: scores, and thresholds of prediction sets, kept in step with the val labels."""

from featx.artifacts.artifact import read_header, write_header_file
from featx.files.seals import write_sealed
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import scores
from featx.study.run_folder import RunFolder
from featx.study.study import Study

VAL_STATE = "val_state"  # the field of metrics.json that says which val labels and units scores come from


def rescored(study: Study, run: RunFolder) -> RunFolder:
    """Return a head's or network's run whose val scores and thresholds are those of today's val labels.

    Val labels are not learnt from, so a change of them leaves the model and its predictions as they are. Ensembles
    learn from them, and are made again instead.
    """
    state = study.choosing_state(run.spec["target"])
    if run.is_ensemble or run.metrics.get(VAL_STATE) == state:
        return run
    known, answered = study.labels(run.spec["target"]), run.answers
    val = answered.of("val")
    val_scores = scores(known, val) if len(val.ids) else None
    _, header = read_header(run.path)
    metrics = {**header.metrics, "val": val_scores} if val_scores else header.metrics
    changes = {"conformal": ConformalSpec.of(known, answered, study.groups), "metrics": metrics}
    write_header_file(run.path, header.model_copy(update=changes))
    write_sealed(run.path / "metrics.json", {**run.metrics, "val": val_scores, VAL_STATE: state})
    return RunFolder(run.path)
