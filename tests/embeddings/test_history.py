"""The same recipe, data and machine give the same specs and vectors, whatever ran before in the same folders.

Modules: embeddings.read, study.embedding_lock.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from featx import extract, finetune
from featx.embeddings.read import read_embeddings
from featx.embeddings.runtimes import is_native
from featx.files.seals import read_sealed, write_sealed
from featx.specs.embedding import EmbeddingSpec
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n[extraction]\nmin_cosine = 0.5\n'
EMBEDDING = '[[embedding]]\nbackbone = "toy"\nweights = "none"\n'
FINETUNE = '[[finetune]]\nbackbone = "toy"\nweights = "none"\nstrategy = "head"\nepochs = 1\n'


@pytest.fixture(autouse=True)
def reduce_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 48 images be enough for a reduced precision, where the processor has one."""
    monkeypatch.setattr("featx.embeddings.runtime_selection.MIN_IMAGES_TO_REDUCE", 30)


def make_study(folder: Path, text: str = TOY_RECIPE) -> Path:
    """Write 48 images and a recipe whose results lie beside it."""
    make_images(folder / "images")
    recipe = folder / "featx.toml"
    recipe.write_text(text + PLACES)
    return recipe


def resolved(recipe: Path) -> tuple[list[EmbeddingSpec], list[str], np.ndarray]:
    """Return the specs, their reasons, and the vectors of all images."""
    extract(recipe)
    study = Study.open(recipe)
    embeddings = [embedding for embedding in study.locked if embedding.request.precision == "auto"]
    ids = np.sort(study.manifest.ids)
    return (
        [embedding.spec for embedding in embeddings],
        [embedding.reason for embedding in embeddings],
        read_embeddings(study, ids, embeddings).x,
    )


def extracted_in_fp32_before(recipe: Path) -> None:
    """Fill a store in fp32 for the same network and images."""
    fp32_recipe = recipe.with_name("other.toml")
    fp32_recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\nprecision = "fp32"', 1))
    extract(fp32_recipe)


def finetuned_before(recipe: Path) -> None:
    """Fill a store by fine-tuning, in a recipe that has no embedding yet."""
    text = recipe.read_text()
    recipe.write_text(text[: text.index("[[embedding]]")] + FINETUNE + PLACES)
    extract(recipe)
    finetune(recipe)
    recipe.write_text(text)


def had_fewer_images_before(recipe: Path) -> None:
    """Extract a part of the images first, too few for a reduced precision."""
    later_folder = recipe.parent / "later"
    shutil.copytree(recipe.parent / "images", later_folder)
    for image in (recipe.parent / "images").glob("*/01*.png"):
        image.unlink()
    for image in (recipe.parent / "images").glob("*/00[5-9].png"):
        image.unlink()
    extract(recipe)
    shutil.rmtree(recipe.parent / "images")
    later_folder.rename(recipe.parent / "images")


def other_images_were_compared_before(recipe: Path) -> None:
    """Decide on a precision for other images by the same network, and leave the decision in the same cache."""
    other_home = recipe.parent / "other"
    make_images(other_home / "images", classes=("a", "b", "c"))
    text = TOY_RECIPE + PLACES.replace('"cache"', '"../cache"')
    (other_home / "featx.toml").write_text(text)
    extract(other_home / "featx.toml")


def copied_from_another_machine(recipe: Path) -> None:
    """Leave the decision of a machine with other arithmetic."""
    extract(recipe)
    lock = next((recipe.parent / "runs").glob("*/embeddings.lock.json"))
    entries = read_sealed(lock)["embeddings"]
    for entry in entries:
        entry["reason"] = entry["reason"].rpartition("machine")[0] + "machine 0123456789abcdef"
        entry["spec"]["precision"] = "fp32"
    write_sealed(lock, {"embeddings": entries})


HISTORIES = (
    extracted_in_fp32_before,
    finetuned_before,
    had_fewer_images_before,
    other_images_were_compared_before,
    copied_from_another_machine,
)


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_earlier_commands_do_not_change_how_a_recipe_is_resolved(history, home: Path) -> None:  # type: ignore[no-untyped-def]
    fresh_study, used_study = (make_study(home / name) for name in ("fresh", "used"))
    history(used_study)

    specs, reasons, x = resolved(fresh_study)

    specs_again, reasons_again, x_again = resolved(used_study)
    assert specs_again == specs
    assert reasons_again == reasons
    if is_native("bf16"):
        assert [str(spec.precision) for spec in specs] == ["bf16 by openvino on cpu"]
    # In fp32, runtimes that round otherwise may have filled the stores.
    np.testing.assert_allclose(x_again, x, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not is_native("bf16"), reason="this processor does not multiply bf16 by itself")
def test_a_precision_that_changes_with_new_images_is_reported_once(home: Path) -> None:
    recipe = make_study(home)
    had_fewer_images_before(recipe)

    first, second = extract(recipe), extract(recipe)

    (warning,) = [warning for warning in first.warnings if "was embedded in" in warning]
    assert "was embedded in fp32, and is now embedded in bf16 by openvino on cpu" in warning
    assert not [warning for warning in second.warnings if "was embedded in" in warning]
    assert second.n_cached == 48


def test_a_named_precision_stays_as_images_are_added(home: Path) -> None:
    text = TOY_RECIPE.replace('weights = "none"', 'weights = "none"\nprecision = "fp32"', 1)
    recipe = make_study(home, text)
    had_fewer_images_before(recipe)

    extraction = extract(recipe)

    assert [embedding["precision"] for embedding in extraction.embeddings] == ["fp32"]
    assert extraction.n_cached > 0
    assert not extraction.warnings
