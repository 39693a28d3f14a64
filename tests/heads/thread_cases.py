"""Prints digests of fitted heads and ensembles; run by test_threads.py with different numbers of threads.

usage: python -m tests.heads.thread_cases HEAD …
"""

import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np

from featx.artifacts.outputs import predict_outputs
from featx.ensembles.combiners import MemberOutputs
from featx.ensembles.stacking import fit_stack
from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.ensembling import EnsembleSpec
from featx.specs.head import HeadSpec
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets

# The arrays are so large that BLAS would compute products in several threads.
N_ROWS, N_FEATURES, N_CLASSES = 240, 600, 3


def make_rows(kind: str) -> TrainRows:
    """Return rows with overlapping classes, two labels or two numbers."""
    rng = np.random.default_rng(0)
    codes = np.arange(N_ROWS) % N_CLASSES
    centres = rng.normal(size=(N_CLASSES, N_FEATURES))
    x = np.maximum(0, 0.15 * centres[codes] + rng.normal(size=(N_ROWS, N_FEATURES))).astype(np.float32)
    if kind == "classes":
        return TrainRows(x, ClassTargets(("a", "b", "c"), codes))
    if kind == "labels":
        return TrainRows(x, LabelTargets(("a", "b"), np.stack([codes == 0, codes != 1], axis=1).astype(np.int64)))
    return TrainRows(x, NumberTargets(("a", "b"), np.stack([codes + rng.normal(size=N_ROWS), codes], axis=1)))


def digest(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def digests_of_head(name: str, kind: str) -> dict[str, str]:
    """Return digests of a search, of the saved model, and of its outputs."""
    rows, spec = make_rows(kind), HeadSpec(name=name, trials=2, folds=3)
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.targets.n_outputs, 0, rows.targets.kind))
    with tempfile.TemporaryDirectory() as folder:
        result = search({"toy": SearchSpace(head, rows)}, spec, Path(folder, "journal"), no_progress)
    model, out_of_fold = fit_out_of_fold(head, result.params, rows, spec)
    body = io.BytesIO()
    joblib.dump(model, body)
    trials = [[trial.params, trial.fold_scores, trial.path] for trial in result.trials]
    return {
        "search": digest(json.dumps([result.params, result.score, trials], default=float).encode()),
        "model": digest(body.getvalue()),
        "out of fold": digest(out_of_fold.outputs.tobytes()),
        "predictions": digest(predict_outputs(model, rows.x[::-1].copy(), rows.targets.kind).tobytes()),
    }


def digests_of_ensembles() -> dict[str, str]:
    """Return digests of stacking models fitted on random members."""
    targets = make_rows("classes").targets
    outputs = np.random.default_rng(1).dirichlet(np.ones(N_CLASSES), (40, N_ROWS))
    members = MemberOutputs("classes", targets.names, outputs)
    models = {
        name: fit_stack(members, targets, EnsembleSpec(stacker=name)) for name in ("logistic", "ridge", "xgboost")
    }
    return {name: digest(model.model_dump_json().encode()) for name, model in models.items()}


def main() -> None:
    """Print one JSON object."""
    digests = {}
    for name in sys.argv[1:]:
        for kind in ("classes", "labels", "numbers"):
            if not (kind == "numbers" and name in {"logreg", "lda"}):
                digests[f"{name} of {kind}"] = digests_of_head(name, kind)
    sys.stdout.write(json.dumps(digests | {"votes": digests_of_ensembles()}))


if __name__ == "__main__":
    main()
