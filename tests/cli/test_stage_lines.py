"""The lines of ``featx run``: each score has its name, with several targets after the name of the target."""

from types import SimpleNamespace

import pytest

from featx.cli.stage_lines import StagePrinter


def network(target: str, metric: str, score: float, is_new: bool = True) -> SimpleNamespace:
    run = f"net-{target}-{score}"
    values = {"target": target, "metric": metric, "val_score": score, "is_new": is_new, "train_s": 1.0, "warnings": []}
    return SimpleNamespace(run=run, label=f"net {score}", **values)


def test_scores_of_several_targets_have_their_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        network("defect", "accuracy", 0.875),
        network("defect", "accuracy", 0.5),
        network("age", "mae", 3.25, False),
    ]
    StagePrinter("").add("finetune", runs)
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "finetune defect: val acc net 0.875 0.8750, net 0.5 0.5000; age: val mae net 3.25 3.250; "
        "1 of 3 already done; 2.0 s"
    )
    StagePrinter("").add("finetune", runs[:2])
    assert "finetune val acc net 0.875 0.8750, net 0.5 0.5000; 2.0 s" in " ".join(capsys.readouterr().out.split())
