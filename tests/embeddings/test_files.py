"""Embedding a few files past the cache: the cache's numbers, and its reasons where there are none."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featx import extract
from featx.embeddings.drift import drift
from featx.embeddings.files import MIN_FILES_TO_BATCH, embed_files
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.runtimes import is_native
from featx.errors import ArtifactError, WeightsError
from featx.networks.backbones import backbone
from featx.networks.features import resolve
from featx.specs.embedding import EmbeddingRequest, Reduced, ResolvedEmbedding
from featx.study.study import Study


def embedding(**said: object) -> ResolvedEmbedding:
    request = EmbeddingRequest.model_validate({"backbone": "toy", "weights": "none"} | said)
    made = resolve([request])
    return ResolvedEmbedding(request=request, spec=made.specs[0], n_features=made.n_features[0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_files_get_the_numbers_that_the_cache_has(dtype: str, toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    asked = f'weights = "none"\npool = ["gem", "avg"]\ndtype = "{dtype}"'
    recipe.write_text(recipe.read_text().replace('weights = "none"', asked))
    extract()
    study = Study.open(None)
    locked = locked_embeddings(study)
    names = study.manifest.ids[[40, 3, 17]]

    found = embed_files([f"images/{name}" for name in names], locked, "cpu")

    assert found.images == [f"images/{name}" for name in names]
    side_by_side = np.hstack([found.columns[one.spec.fingerprint()] for one in locked])
    # Fewer files than a batch go through the network one by one, which differs by its rounding.
    tolerance = 1e-5 if dtype == "float32" else 1e-3
    np.testing.assert_allclose(side_by_side, read_embeddings(study, names, locked).x, rtol=tolerance, atol=tolerance)


def test_as_many_files_as_a_batch_get_the_cache_s_numbers_to_the_bit(toy_home: Path) -> None:
    extract()
    study = Study.open(None)
    locked = locked_embeddings(study)
    names = study.manifest.ids[:MIN_FILES_TO_BATCH]

    found = embed_files([f"images/{name}" for name in names], locked, "cpu")

    stored = read_embeddings(study, names, locked).x
    assert found.columns[locked[0].spec.fingerprint()].tobytes() == stored.tobytes()


def test_a_file_has_one_vector_whatever_few_files_stand_beside_it(toy_home: Path) -> None:
    extract()
    (one,) = locked_embeddings(Study.open(None))
    names = [f"images/dark/{number:03}.png" for number in range(MIN_FILES_TO_BATCH - 1)]

    together = embed_files(names, [one], "cpu").columns[one.spec.fingerprint()]

    for name, row in zip(names, together, strict=True):
        assert embed_files([name], [one], "cpu").columns[one.spec.fingerprint()].tobytes() == row.tobytes()


def test_files_of_two_networks_are_embedded_by_each(toy_home: Path) -> None:
    small, large = embedding(), embedding(size_px=24)
    images = ["images/dark/000.png", "images/light/000.png"]

    both = embed_files(images, [small, large], "cpu")

    for one in (small, large):
        name = one.spec.fingerprint()
        assert both.columns[name].tobytes() == embed_files(images, [one], "cpu").columns[name].tobytes()


def test_what_cannot_be_read_is_named_and_shifts_no_row(toy_home: Path) -> None:
    (toy_home / "note.png").write_text("no picture")
    (toy_home / "empty.png").touch()
    shutil.copy("images/dark/001.png", "twin.png")
    asked = ["note.png", "images/dark/000.png", "gone.png", "twin.png", "empty.png", "images/dark/001.png"]
    one = embedding()

    found = embed_files(asked, [one], "cpu")

    assert found.images == ["images/dark/000.png", "twin.png", "images/dark/001.png"]
    assert found.unreadable == {
        "note.png": "is not an image of a known format",
        "gone.png": "there is no such file",
        "empty.png": "is empty",
    }
    clean = embed_files(["images/dark/001.png", "images/dark/000.png"], [one], "cpu").columns[one.spec.fingerprint()]
    assert found.columns[one.spec.fingerprint()].tobytes() == clean[[1, 0, 0]].tobytes()


def test_a_file_for_which_the_network_gives_nan_is_unreadable_as_in_an_extraction(toy_home: Path) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number
    torch.save(state, toy_home / "toy.pth")
    Image.new("RGB", (20, 20), "white").save(toy_home / "white.png")
    one = embedding(weights="toy.pth")

    found = embed_files(["white.png", "images/dark/000.png"], [one], "cpu")

    assert found.images == ["images/dark/000.png"]
    assert found.unreadable == {"white.png": "the network gives values that are not finite"}
    assert np.isfinite(found.columns[one.spec.fingerprint()]).all()


def test_files_of_which_none_can_be_read_give_no_rows(home: Path) -> None:
    found = embed_files(["gone.png"], [embedding()], "cpu")

    assert (found.images, list(found.unreadable)) == ([], ["gone.png"])
    assert [len(x) for x in found.columns.values()] == [0]


def test_other_weights_than_the_models_are_an_error(toy_home: Path) -> None:
    torch.save(backbone("toy").build().state_dict(), toy_home / "toy.pth")
    wanted = embedding(weights="toy.pth")
    torch.save(backbone("toy").build().state_dict(), toy_home / "toy.pth")

    with pytest.raises(
        ArtifactError, match=f"trained on embedding {wanted.spec.fingerprint()} .*: weights_sha256 is '"
    ):
        embed_files(["images/dark/000.png"], [wanted], "cpu")

    (toy_home / "toy.pth").unlink()
    with pytest.raises(WeightsError, match=r"weights 'toy\.pth': no such file"):
        embed_files(["images/dark/000.png"], [wanted], "cpu")


def reduced_by(runtime: str, **said: object) -> ResolvedEmbedding:
    """Return the toy's embedding as it would be in bf16."""
    one = embedding(**said)
    precision = Reduced.model_validate({"dtype": "bf16", "runtime": runtime, "device": "cpu"})
    return one.model_copy(update={"spec": one.spec.model_copy(update={"precision": precision})})


def test_a_precision_that_this_machine_does_not_have_is_answered_in_fp32_and_said(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.embeddings.runtimes.can_compute", lambda precision: False)
    exact, reduced = embedding(), reduced_by("openvino")
    images = ["images/dark/000.png", "images/light/000.png"]

    found = embed_files(images, [reduced], "cpu")

    assert found.warnings == [
        "toy was extracted in bf16 by openvino on cpu, which is not available here; it runs in fp32, and the vectors "
        "may differ as far as 'extraction.least_cosine' allowed"
    ]
    clean = embed_files(images, [exact], "cpu")
    assert clean.warnings == []
    assert found.columns[reduced.spec.fingerprint()].tobytes() == clean.columns[exact.spec.fingerprint()].tobytes()


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_precision_that_this_machine_has_is_used_and_nothing_is_said(toy_home: Path, runtime: str) -> None:
    if runtime == "openvino" and not is_native("bf16"):
        pytest.skip("this CPU does not multiply bf16 by itself")
    exact, reduced = embedding(), reduced_by(runtime)

    found = embed_files(["images/dark/000.png"], [exact, reduced], "cpu")

    assert found.warnings == []
    x, y = (found.columns[one.spec.fingerprint()] for one in (exact, reduced))
    assert x.tobytes() != y.tobytes()
    assert drift(x, y).cosine > 0.999
