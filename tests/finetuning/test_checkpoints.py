"""Fine-tuned networks as backbones: of heads, and of further fine-tuning."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import featx
from featx.artifacts.header import read_header
from featx.errors import ArtifactError, FeatxError, RecipeError
from featx.finetuning.checkpoints import load_checked_network
from featx.networks.backbones import get_backbone
from featx.networks.blocks import trace_units
from featx.networks.chains import STEM
from featx.networks.features import build_backbone
from featx.specs.embedding import EmbeddingRequest
from featx.study.study import Study
from tests.finetuning.specs import SECTIONS, finetune_one
from tests.recipes import toy_heads, toy_recipe


def test_heads_use_a_fine_tuned_network(study: Path) -> None:
    run = finetune_one(strategy="all")
    assert read_header(run.path)[1].network is not None
    embedding = {"backbone": f"checkpoint:{run.path}", "tap": ["last", "new_layers.layers.1"]}
    recipe = toy_recipe(**SECTIONS | {"embedding": [embedding], "head": toy_heads("logreg", folds=2)})
    (study / "featx.toml").write_text(recipe)
    extraction = featx.extract()
    assert [embedding["n_features"] for embedding in extraction.embeddings] == [8, 8]
    (head,) = featx.fit(target="class")
    votes = featx.ensemble(target="class")
    assert {vote.n_candidates for vote in votes} == {2}
    names = [f"images/{number}.png" for number in range(4)]
    predictions = featx.predict(names)
    assert set(predictions) == {run.run, head.run, *(vote.run for vote in votes)}
    (study / run.path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ArtifactError, match="does not match its header"):
        featx.load(run.path)
    with pytest.raises(FeatxError, match=r"model\.safetensors"):
        featx.predict(names, runs=[head.run])


def test_a_fine_tuned_network_can_be_fine_tuned_further(study: Path) -> None:
    first = finetune_one(strategy="all")
    second = finetune_one(backbone=f"checkpoint:{first.path}", weights="default", strategy="head", epochs=20, lr=0.03)
    scratch = finetune_one(strategy="head", epochs=20, lr=0.03)
    assert second.held_loss < scratch.held_loss
    assert featx.load(second.path).predict_images(["images/0.png"]).proba.shape == (1, 2)


def test_heads_wait_for_the_network_that_a_recipe_trains(study: Path) -> None:
    prefix = "runs/featx/deep-scratch-class-"
    sections = {
        "targets": {"class": {"column": "class"}},
        "finetune": [{"backbone": "deep", "weights": "none", "strategy": "scratch", "epochs": 2}],
        "embedding": [{"backbone": f"checkpoint:{prefix}"}],
        "head": toy_heads("logreg", folds=2),
    }
    recipe = toy_recipe(**SECTIONS | sections)
    (study / "featx.toml").write_text(recipe)
    assert featx.extract().pending_embeddings == ["checkpoint:deep-scratch-class-/last/avg"]
    stages = [name for name, _ in featx.run()]
    assert stages == ["extract", "finetune", "extract", "fit", "ensemble", "evaluate", "report"]
    assert [name for name, _ in featx.run()] == ["extract", "finetune", "fit", "ensemble", "evaluate", "report"]
    featx.finetune(strategies=["scratch"], lrs=[0.1], epochs=1)
    with pytest.raises(ArtifactError, match="matches 2 runs"):
        get_backbone(f"checkpoint:{prefix}")


def test_a_section_or_a_run_is_a_backbone_by_its_name(study: Path) -> None:
    first = {"name": "own", "backbone": "deep", "weights": "none", "strategy": "all", "epochs": 1, "target": "class"}
    second = {"name": "further", "backbone": "checkpoint:own", "strategy": "head", "epochs": 1, "target": "class"}
    embedding = {"backbone": "checkpoint:own", "tap": ["last", "4"]}
    head = {"name": "logreg", "target": "class", "embeddings": "checkpoint:own/4", "trials": 1, "folds": 2}
    sections = {"finetune": [first, second], "embedding": [embedding], "head": [head]}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | sections))
    assert featx.extract().pending_embeddings == [f"checkpoint:own-/{tap}/avg" for tap in ("last", "4")]
    runs = {run.run.partition("-")[0]: run for run in featx.finetune()}
    assert list(read_header(runs["further"].path)[1].numbers) == []
    assert runs["own"].run.startswith("own-deep-")
    assert [embedding["n_features"] for embedding in featx.extract().embeddings] == [8, 8]
    (result,) = featx.fit()
    assert result.embeddings.endswith("/4/avg")
    by_run = {"embedding": [{"backbone": f"checkpoint:{runs['own'].run}"}], "head": toy_heads("logreg", folds=2)}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | by_run))
    assert Study.open(None).recipe.requests[0].backbone == f"checkpoint:{Path(runs['own'].path).resolve()}"
    by_run["embedding"] = [{"backbone": "checkpoint:owm"}]
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"finetune": [first]} | by_run))
    with pytest.raises(
        RecipeError, match=r"no \[\[finetune\]\] section and no run is called 'owm'; did you mean 'own'"
    ):
        featx.extract()


def test_heads_on_a_network_work_from_any_folder(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune_section = {
        "name": "own",
        "backbone": "deep",
        "weights": "none",
        "strategy": "all",
        "epochs": 1,
        "target": "class",
    }
    head = {"name": "logreg", "target": "class", "trials": 1, "folds": 2}
    sections = {"finetune": [finetune_section], "embedding": [{"backbone": "checkpoint:own"}], "head": [head]}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | sections))
    list(featx.run())
    runs = sorted(run.path.resolve() for run in Study.open(None).runs())
    (head_run,) = [run for run in runs if run.name.startswith("logreg")]
    expected = featx.load(head_run).predict_images(study / "images" / "0.png").proba

    other_folder = study / "elsewhere"
    other_folder.mkdir()
    monkeypatch.chdir(other_folder)
    recipe = "../featx.toml"
    list(featx.run(recipe))
    assert sorted(run.path.resolve() for run in Study.open(recipe).runs()) == runs
    assert featx.predict(study / "images" / "0.png", recipe=recipe)

    moved_runs = study / "moved"
    (study / "runs").rename(moved_runs)
    proba = featx.load(moved_runs / "featx" / head_run.name).predict_images(study / "images" / "0.png").proba
    np.testing.assert_array_equal(proba, expected)
    shutil.rmtree(next((moved_runs / "featx").glob("own-*")))
    with pytest.raises(ArtifactError, match="the network own-, which is not in .*; copy the folder"):
        featx.load(moved_runs / "featx" / head_run.name).predict_images(study / "images" / "0.png")


def test_only_networks_are_used_as_backbones(study: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no nowhere"):
        finetune_one(backbone="checkpoint:nowhere", weights="default")


def test_weights_of_another_network_are_refused(study: Path) -> None:
    run = finetune_one(strategy="head")
    with pytest.raises(FeatxError, match="are of another network"):
        finetune_one(weights=str(Path(run.path) / "model.safetensors"), backbone="small_cnn")


def test_a_network_with_a_stem_is_trained_written_and_read(study: Path) -> None:
    layers = {"hidden": [8, 4], "dropout": [0.1, 0.2]}
    run = finetune_one(backbone="timm:test_vit", size_px=32, strategy="last-block", epochs=1, layers=layers)
    name = f"checkpoint:{run.path}"
    backbone = build_backbone(EmbeddingRequest(backbone=name))
    assert trace_units(backbone.body, backbone.last, 32)[0].name == STEM
    assert [name for name, module in backbone.body.named_modules() if isinstance(module, nn.Dropout)][-2:] == [
        "new_layers.layers.2",
        "new_layers.layers.5",
    ]
    load_checked_network(Path(run.path), EmbeddingRequest(backbone=name))


@pytest.mark.parametrize("val", [0, 0.2])
def test_heads_on_learnt_rows_are_not_chosen_without_val(study: Path, val: float) -> None:
    network = finetune_one(strategy="all", epochs=30)
    embeddings = [{"backbone": f"checkpoint:{network.path}"}, {"backbone": "deep", "weights": "none"}]
    names = (f"checkpoint:{network.run}", "deep")
    heads = [
        head | {"embeddings": name, "target": "class"} for name in names for head in toy_heads("logreg", "knn", folds=2)
    ]
    sections = {"split": {"test": 0.2, "val": val}, "embedding": embeddings, "head": heads}
    (study / "other.toml").write_text(toy_recipe(**SECTIONS | sections))
    featx.extract("other.toml")
    runs = featx.fit("other.toml")
    (ensemble,) = featx.ensemble("other.toml", target="class", methods=["soft"])
    assert ensemble.n_candidates == (4 if val else 2)
    (evaluation,) = featx.evaluate("other.toml", target="class")
    flags = {row.run: "train used" in row.flags for row in evaluation.rows}
    leaking_runs = {run.run for run in runs if val == 0 and run.embeddings.startswith("checkpoint:")}
    assert {run for run, is_flagged in flags.items() if is_flagged} == leaking_runs
    warnings = [text for text in evaluation.warnings if "may have learnt the train rows" in text]
    assert len(warnings) == (val == 0)
    if val == 0:
        assert not flags[evaluation.chosen]
        assert not flags[evaluation.recommended]
        assert "out-of-fold scores are too high, and they are not chosen; set 'split.val'" in warnings[0]
