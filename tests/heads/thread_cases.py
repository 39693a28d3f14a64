"""Prints what heads and votes learn, as digests; run by test_threads.py under different numbers of threads.

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
from featx.ensembles.stacking import stack
from featx.heads.builtin import Head, HeadTask
from featx.heads.fitting import learnt_in_folds
from featx.heads.folds import TrainRows
from featx.heads.search.search import SearchSpace, search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.ensembling import EnsembleSpec
from featx.specs.head import HeadSpec
from featx.tables.target_values import TargetValues

N_ROWS, N_FEATURES, N_CLASSES = 240, 600, 3  # so many that BLAS would share the products among its threads


def made_rows(kind: str) -> TrainRows:
    """Return rows whose classes overlap, or their two numbers."""
    rng = np.random.default_rng(0)
    codes = np.arange(N_ROWS) % N_CLASSES
    centres = rng.normal(size=(N_CLASSES, N_FEATURES))
    x = np.maximum(0, 0.15 * centres[codes] + rng.normal(size=(N_ROWS, N_FEATURES))).astype(np.float32)
    if kind == "classes":
        return TrainRows(x, TargetValues("classes", ("a", "b", "c"), codes))
    if kind == "labels":
        return TrainRows(
            x, TargetValues("labels", ("a", "b"), np.stack([codes == 0, codes != 1], axis=1).astype(np.int64))
        )
    return TrainRows(x, TargetValues("numbers", ("a", "b"), np.stack([codes + rng.normal(size=N_ROWS), codes], axis=1)))


def digest(content: bytes) -> str:
    """Return the first digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def digests_of_head(name: str, kind: str) -> dict[str, str]:
    """Return digests of a search, of the written model, and of what it answers."""
    rows, spec = made_rows(kind), HeadSpec(name=name, trials=2, folds=3)
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.facts.n_outputs, 0, rows.facts.kind))
    with tempfile.TemporaryDirectory() as folder:
        found = search({"toy": SearchSpace(head, rows)}, spec, Path(folder, "journal"), no_progress)
    model, unseen = learnt_in_folds(head, found.params, rows, spec)
    body = io.BytesIO()
    joblib.dump(model, body)
    trials = [[one["params"], one["fold_scores"], one["path"]] for one in found.trials]
    return {
        "search": digest(json.dumps([found.params, found.score, trials], default=float).encode()),
        "model": digest(body.getvalue()),
        "out of fold": digest(unseen.answers.tobytes()),
        "answers": digest(predict_outputs(model, rows.x[::-1].copy(), rows.facts.kind).tobytes()),
    }


def digests_of_votes() -> dict[str, str]:
    """Return digests of what stacking learns from made-up members."""
    facts = made_rows("classes").facts
    outputs = np.random.default_rng(1).dirichlet(np.ones(N_CLASSES), (40, N_ROWS))
    ballots = MemberOutputs("classes", facts.names, outputs)
    learnt = {name: stack(ballots, facts, EnsembleSpec(stacker=name)) for name in ("logistic", "ridge", "xgboost")}
    return {name: digest(one.model_dump_json().encode()) for name, one in learnt.items()}


def main() -> None:
    """Print one JSON object."""
    found = {}
    for name in sys.argv[1:]:
        for kind in ("classes", "labels", "numbers"):
            if not (kind == "numbers" and name in {"logreg", "lda"}):
                found[f"{name} of {kind}"] = digests_of_head(name, kind)
    sys.stdout.write(json.dumps(found | {"votes": digests_of_votes()}))


if __name__ == "__main__":
    main()
