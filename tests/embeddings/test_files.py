"""Files embedded without the cache have the vectors, or the reasons, that an extraction gives."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featx import extract
from featx.embeddings.deviation import measure_deviation
from featx.embeddings.files import MIN_FILES_FOR_OPENVINO, MIN_FILES_TO_BATCH, FileEmbedder
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.embeddings.runtimes import Execution, PortableNetwork, is_native
from featx.errors import ArtifactError, WeightsError
from featx.networks.backbones import get_backbone
from featx.networks.features import resolve_network
from featx.specs.embedding import EmbeddingRequest, ReducedPrecision, ResolvedEmbedding
from featx.study.study import Study
from tests.embeddings.embedders import embed_files


def embedding(**settings: object) -> ResolvedEmbedding:
    request = EmbeddingRequest.model_validate({"backbone": "toy", "weights": "none"} | settings)
    resolved = resolve_network([request])
    return ResolvedEmbedding(request=request, spec=resolved.specs[0], n_features=resolved.n_features[0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_files_have_the_vectors_of_the_cache(dtype: str, toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    settings = f'weights = "none"\npool = ["gem", "avg"]\ndtype = "{dtype}"'
    recipe.write_text(recipe.read_text().replace('weights = "none"', settings))
    extract()
    study = Study.open(None)
    embeddings = locked_embeddings(study)
    names = study.manifest.ids[[40, 3, 17]]

    embedded = embed_files([f"images/{name}" for name in names], embeddings, "cpu")

    assert embedded.images == [f"images/{name}" for name in names]
    side_by_side = np.hstack([embedded.columns[embedding.spec.fingerprint()] for embedding in embeddings])
    # Fewer files than a batch go through the network one by one, which differs by its rounding.
    tolerance = 1e-5 if dtype == "float32" else 1e-3
    np.testing.assert_allclose(
        side_by_side, read_embeddings(study, names, embeddings).x, rtol=tolerance, atol=tolerance
    )


def test_a_full_batch_has_the_vectors_of_the_cache_to_the_bit(toy_home: Path) -> None:
    extract()
    study = Study.open(None)
    embeddings = locked_embeddings(study)
    names = study.manifest.ids[:MIN_FILES_TO_BATCH]

    embedded = embed_files([f"images/{name}" for name in names], embeddings, "cpu")

    cached_x = read_embeddings(study, names, embeddings).x
    assert embedded.columns[embeddings[0].spec.fingerprint()].tobytes() == cached_x.tobytes()


def test_a_file_has_one_vector_whatever_the_other_files_are(toy_home: Path) -> None:
    extract()
    (embedding,) = locked_embeddings(Study.open(None))
    names = [f"images/dark/{number:03}.png" for number in range(MIN_FILES_TO_BATCH - 1)]

    joint_rows = embed_files(names, [embedding], "cpu").columns[embedding.spec.fingerprint()]

    for name, row in zip(names, joint_rows, strict=True):
        assert embed_files([name], [embedding], "cpu").columns[embedding.spec.fingerprint()].tobytes() == row.tobytes()


def test_files_of_two_networks_are_embedded_by_each(toy_home: Path) -> None:
    small, large = embedding(), embedding(size_px=24)
    images = ["images/dark/000.png", "images/light/000.png"]

    joint_result = embed_files(images, [small, large], "cpu")

    for request in (small, large):
        name = request.spec.fingerprint()
        assert joint_result.columns[name].tobytes() == embed_files(images, [request], "cpu").columns[name].tobytes()


def test_unreadable_files_are_named_and_shift_no_row(toy_home: Path) -> None:
    (toy_home / "note.png").write_text("no picture")
    (toy_home / "empty.png").touch()
    shutil.copy("images/dark/001.png", "twin.png")
    paths = ["note.png", "images/dark/000.png", "gone.png", "twin.png", "empty.png", "images/dark/001.png"]
    toy = embedding()

    embedded = embed_files(paths, [toy], "cpu")

    assert embedded.images == ["images/dark/000.png", "twin.png", "images/dark/001.png"]
    assert embedded.unreadable == {
        "note.png": "is not an image of a known format",
        "gone.png": "there is no such file",
        "empty.png": "is empty",
    }
    clean_rows = embed_files(["images/dark/001.png", "images/dark/000.png"], [toy], "cpu").columns[
        toy.spec.fingerprint()
    ]
    assert embedded.columns[toy.spec.fingerprint()].tobytes() == clean_rows[[1, 0, 0]].tobytes()


def test_a_file_with_a_nan_vector_is_unreadable(toy_home: Path) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in get_backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number
    torch.save(state, toy_home / "toy.pth")
    Image.new("RGB", (20, 20), "white").save(toy_home / "white.png")
    toy = embedding(weights="toy.pth")

    embedded = embed_files(["white.png", "images/dark/000.png"], [toy], "cpu")

    assert embedded.images == ["images/dark/000.png"]
    assert embedded.unreadable == {"white.png": "the network gives values that are not finite"}
    assert np.isfinite(embedded.columns[toy.spec.fingerprint()]).all()


def test_unreadable_files_alone_give_no_rows(home: Path) -> None:
    embedded = embed_files(["gone.png"], [embedding()], "cpu")

    assert (embedded.images, list(embedded.unreadable)) == ([], ["gone.png"])
    assert [len(x) for x in embedded.columns.values()] == [0]


def test_weights_that_differ_from_the_models_are_an_error(toy_home: Path) -> None:
    torch.save(get_backbone("toy").build().state_dict(), toy_home / "toy.pth")
    expected = embedding(weights="toy.pth")
    torch.save(get_backbone("toy").build().state_dict(), toy_home / "toy.pth")

    with pytest.raises(
        ArtifactError, match=f"trained on embedding {expected.spec.fingerprint()} .*: weights_sha256 is '"
    ):
        embed_files(["images/dark/000.png"], [expected], "cpu")

    (toy_home / "toy.pth").unlink()
    with pytest.raises(WeightsError, match=r"weights 'toy\.pth': no such file"):
        embed_files(["images/dark/000.png"], [expected], "cpu")


def reduced_by(runtime: str, **settings: object) -> ResolvedEmbedding:
    """Return the toy's embedding as it would be in bf16."""
    fp32_embedding = embedding(**settings)
    precision = ReducedPrecision.model_validate({"dtype": "bf16", "runtime": runtime, "device": "cpu"})
    return fp32_embedding.model_copy(update={"spec": fp32_embedding.spec.model_copy(update={"precision": precision})})


def test_an_unavailable_precision_falls_back_to_fp32_with_a_warning(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.embeddings.runtimes.can_compute", lambda precision: False)
    fp32_embedding, reduced = embedding(), reduced_by("openvino")
    images = ["images/dark/000.png", "images/light/000.png"]

    embedded = embed_files(images, [reduced], "cpu")

    assert embedded.warnings == [
        "toy was extracted in bf16 by openvino on cpu, which is not available here; it runs in fp32, and the vectors "
        "may differ as far as 'extraction.min_cosine' allowed"
    ]
    fp32_result = embed_files(images, [fp32_embedding], "cpu")
    assert fp32_result.warnings == []
    assert (
        embedded.columns[reduced.spec.fingerprint()].tobytes()
        == fp32_result.columns[fp32_embedding.spec.fingerprint()].tobytes()
    )


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_an_available_precision_is_used_without_a_warning(toy_home: Path, runtime: str) -> None:
    if runtime == "openvino" and not is_native("bf16"):
        pytest.skip("this CPU does not multiply bf16 by itself")
    fp32_embedding, reduced = embedding(), reduced_by(runtime)

    embedded = embed_files(["images/dark/000.png"], [fp32_embedding, reduced], "cpu")

    assert embedded.warnings == []
    x, y = (embedded.columns[resolved.spec.fingerprint()] for resolved in (fp32_embedding, reduced))
    assert x.tobytes() != y.tobytes()
    assert measure_deviation(x, y).cosine > 0.999


@pytest.mark.parametrize(("has_gpu", "runtime"), [(True, "torch"), (False, "openvino")])
def test_many_files_take_the_gpu_where_there_is_one(
    has_gpu: bool, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    executions: list[Execution] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(PortableNetwork, "build_runner", lambda _self, execution, _rows: executions.append(execution))
    embedder = FileEmbedder([embedding()], "auto")
    ((group, specs),) = next(iter(embedder._groups.values()))
    embedder._get_runner(group, specs, MIN_FILES_FOR_OPENVINO)
    assert [execution.runtime for execution in executions] == [runtime]
