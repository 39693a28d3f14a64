"""Vision transformers with weights from a file are extracted, fitted, fine-tuned and attacked like any backbone."""

from collections.abc import Iterator

import pytest
import timm
import torch
from safetensors.torch import save_file

import featx
from featx.robustness.attack import run_attacks
from featx.robustness.attack_job import AttackJob, prepare_attacks
from featx.specs.attacking import AttackSection
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

VIT = {"backbone": "timm:test_vit", "weights": "own.safetensors", "size_px": 32}
LAST_BLOCK = {**VIT, "strategy": "last-block", "epochs": 1, "layers": {"pool": "cls", "hidden": [4]}}
RECIPE = toy_recipe(
    embedding=[{**VIT, "pool": "cls"}],
    head=toy_heads("logreg"),
    finetune=[{**LAST_BLOCK, "adversarial": {"attack": "fgsm", "share": 1.0}}],
)
SECTION = AttackSection(methods=("pgd",), eps=(0.3,), steps=4, images=4)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackJob]:
    folder = tmp_path_factory.mktemp("transformers")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        make_images(folder / "images", n_each=10)
        torch.manual_seed(3)
        save_file(timm.create_model("test_vit").state_dict(), folder / "own.safetensors")
        (folder / "featx.toml").write_text(RECIPE)
        featx.extract()
        featx.finetune()
        featx.fit()
        yield prepare_attacks(sections=[SECTION])


def test_all_runs_on_a_transformer_have_gradients_and_can_be_attacked(job: AttackJob) -> None:
    assert len(job.runs) == 2
    assert all(run.model.has_gradient for run in job.runs)
    result = run_attacks(job)
    robust = result.results_under("pgd", "linf", 0.3)
    assert all(robust[run.run].accuracy <= run.clean for run in result.runs)
    assert not any("gradient is zero" in doubt for run in result.runs for doubt in run.failed_checks)


def test_the_attacked_pixels_give_the_predictions_of_the_run(job: AttackJob) -> None:
    names = [f"images/{image}" for image in job.rows.ids]
    for run in job.runs:
        proba = run.model(job.pixels).softmax(1)
        expected = torch.as_tensor(featx.load(f"runs/featx/{run.name}").predict_images(names).proba)
        assert torch.allclose(proba, expected, atol=0.02)


def test_the_weights_of_the_file_are_used(job: AttackJob) -> None:
    embedder = job.runs[0].model.embedders[0]
    fresh_network = timm.create_model("test_vit")
    torch.manual_seed(3)
    expected = timm.create_model("test_vit").state_dict()["blocks.0.attn.qkv.weight"]
    state = embedder.network.state_dict()
    weights = next(value for name, value in state.items() if name.endswith("blocks.0.attn.qkv.weight"))
    assert torch.equal(weights, expected)
    assert not torch.equal(weights, fresh_network.state_dict()["blocks.0.attn.qkv.weight"])
