"""The scikit-learn transformer returns the vectors of the cache, in the order of its input."""

import copy
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone

from featx import ImageEmbedder, extract
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.study.study import Study
from tests.embeddings.embedders import BuildCounter, D, embedder, files, n_rows, noise


def test_a_row_of_float32_comes_for_each_image(paths: list[str]) -> None:
    transformer = embedder()

    x = transformer.fit(paths).transform(paths)

    assert (x.shape, x.dtype, transformer.n_features_out_) == ((8, D), np.float32, D)
    assert np.isfinite(x).all()
    assert len({row.tobytes() for row in x}) == 8


def test_rows_are_in_the_order_of_the_input_with_repetitions(paths: list[str]) -> None:
    shutil.copy(paths[2], "twin.png")
    x = embedder().transform(paths)
    order = [5, 2, 2, 7, 0, 5]

    reordered_x = embedder(cache="other").transform([*(paths[row] for row in order), "twin.png"])

    assert reordered_x.tobytes() == x[[*order, 2]].tobytes()
    assert n_rows(Path("other")) == 4


def test_transform_needs_no_fit_and_is_the_same_after_fit(paths: list[str]) -> None:
    transformer = embedder()
    x_before = transformer.transform(paths)

    assert transformer.fit(paths[:1], [0]) is transformer
    assert transformer.transform(paths).tobytes() == x_before.tobytes()
    assert embedder(cache="other").fit_transform(paths).tobytes() == x_before.tobytes()


@pytest.mark.parametrize("container", [tuple, np.array, pd.Series, pd.Index, iter])
def test_paths_may_come_in_any_iterable(container: Callable[[list[str]], Any], paths: list[str]) -> None:
    assert embedder().transform(container(paths)).tobytes() == embedder().transform(paths).tobytes()


def test_paths_may_be_str_or_path_absolute_or_relative(paths: list[str]) -> None:
    path = paths[3]

    x = embedder().transform([path, Path(path), Path(path).absolute(), str(Path(path).absolute()), f"./{path}"])

    assert [row.tobytes() for row in x] == [x[0].tobytes()] * 5
    assert n_rows(Path("cache")) == 1


def test_a_path_may_contain_bytes_that_are_not_utf8(paths: list[str]) -> None:
    latin1_path = os.fsdecode(b"caf\xe9.png")
    shutil.copy(paths[0], latin1_path)

    x = embedder().transform([latin1_path, paths[0]])

    assert x[0].tobytes() == x[1].tobytes()


def test_a_file_that_changes_gets_another_vector(paths: list[str]) -> None:
    transformer = embedder()
    x_before = transformer.transform(paths[:2])
    Image.fromarray(noise(18, 20, 3)).save(paths[0])

    x_after = transformer.transform(paths[:2])

    assert x_after[0].tobytes() != x_before[0].tobytes()
    assert x_after[1].tobytes() == x_before[1].tobytes()


@pytest.mark.parametrize("setting", [{"pool": "avgmax"}, {"tap": "0.0"}, {"size_px": 24}, {"views": "flip"}])
def test_settings_change_the_vectors(setting: dict[str, Any], paths: list[str]) -> None:
    x, other_transformer = embedder().transform(paths), embedder(**setting).fit(paths)

    other_x = other_transformer.transform(paths)

    assert other_x.shape == (8, other_transformer.n_features_out_)
    assert other_x.shape != x.shape or not np.allclose(other_x, x, rtol=0.001)


def test_an_empty_list_gives_no_rows(home: Path) -> None:
    for empty_input in ([], np.empty((0, 18, 20, 3), dtype=np.uint8)):
        x = embedder().transform(empty_input)

        assert (x.shape, x.dtype) == ((0, D), np.float32)


def test_an_extraction_and_an_embedder_share_their_store(toy_home: Path) -> None:
    extract()
    study = Study.open(None)
    names, files_before = study.manifest.ids, files(Path("cache"))

    x = embedder().fit_transform([f"images/{name}" for name in names])

    assert x.tobytes() == read_embeddings(study, names, locked_embeddings(study)).x.tobytes()
    assert files_before
    assert files(Path("cache")) == files_before


def test_an_extraction_after_an_embedder_embeds_only_the_others(toy_home: Path) -> None:
    every_fourth = sorted(str(path) for path in Path("images").rglob("*.png"))[::4]
    x = embedder().transform(every_fourth)

    extraction = extract()

    assert (extraction.n_cached, extraction.n_embedded) == (12, 36)
    study = Study.open(None)
    names = [path.removeprefix("images/") for path in every_fourth]
    assert x.tobytes() == read_embeddings(study, names, locked_embeddings(study)).x.tobytes()


def test_a_second_transformation_embeds_nothing(paths: list[str]) -> None:
    images = [*paths, np.asarray(Image.open(paths[0])), Image.open(paths[1])]
    x = embedder().transform(images)
    files_before = files(Path("cache"))

    repeated_x = embedder().transform(images[::-1])

    assert repeated_x.tobytes() == x[::-1].tobytes()
    assert files(Path("cache")) == files_before
    assert n_rows(Path("cache")) == 10


def test_only_new_images_are_embedded(paths: list[str]) -> None:
    embedder().transform(paths[:3])

    embedder().transform(paths)

    assert n_rows(Path("cache")) == 8


def test_engine_settings_do_not_invalidate_the_cache(paths: list[str]) -> None:
    x = embedder(batch_size=2, workers=1).transform(paths)
    files_before = files(Path("cache"))

    assert embedder(batch_size=5, device="cpu", runtime="torch").transform(paths).tobytes() == x.tobytes()
    assert files(Path("cache")) == files_before


def test_the_environment_variable_names_the_cache(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(Path("elsewhere").absolute()))

    embedder(cache=None).transform(paths)
    embedder(cache="here").transform(paths)

    assert (n_rows(Path("elsewhere")), n_rows(Path("here"))) == (8, 8)  # what a caller names goes first
    assert not Path("cache").exists()


def test_the_default_cache_is_in_the_working_directory(paths: list[str]) -> None:
    embedder(cache=None).transform(paths)
    embedder(cache="here").transform(paths)

    assert (n_rows(Path("cache")), n_rows(Path("here"))) == (8, 8)


def test_parameters_are_stored_as_given(home: Path) -> None:
    mean = [0.1, 0.2, 0.3]

    transformer = ImageEmbedder("toy", mean=mean, cache="somewhere", size_px=24)

    parameters = transformer.get_params()
    assert parameters["mean"] is mean
    assert (parameters["backbone"], parameters["cache"], parameters["size_px"]) == ("toy", "somewhere", 24)
    assert parameters.keys() >= {"weights", "tap", "pool", "precision", "device", "runtime", "workers", "on_error"}
    assert transformer.set_params(pool="max", mean=None) is transformer
    assert (transformer.pool, transformer.mean, transformer.cache) == ("max", None, "somewhere")
    assert not Path("somewhere").exists()


def test_repr_names_parameters_that_are_not_the_default() -> None:
    assert repr(ImageEmbedder()) == "ImageEmbedder()"
    assert repr(ImageEmbedder("toy", pool="max")) == "ImageEmbedder(backbone='toy', pool='max')"


COPIES = {"clone": clone, "copy": copy.deepcopy, "pickle": lambda embedder: pickle.loads(pickle.dumps(embedder))}


@pytest.mark.parametrize("method", COPIES)
def test_a_copy_has_the_same_settings_and_vectors(method: str, paths: list[str]) -> None:
    transformer = embedder(pool="max", mean=[0.4, 0.5, 0.6]).fit(paths)
    x = transformer.transform(paths)

    transformer_copy = COPIES[method](transformer)

    assert transformer_copy.get_params() == transformer.get_params()
    assert hasattr(transformer_copy, "n_features_out_") == (method != "clone")
    assert transformer_copy.transform(paths).tobytes() == x.tobytes()
    assert len(pickle.dumps(transformer)) < 2000  # settings, and no network


@pytest.mark.parametrize("method", COPIES)
def test_a_copy_builds_no_network(method: str, paths: list[str], build_counter: BuildCounter) -> None:
    transformer = embedder(backbone=build_counter.name).fit(paths)
    transformer.transform(paths)
    assert len(build_counter.builds) == 1

    COPIES[method](transformer).fit(paths).transform(paths[::-1])
    embedder(backbone=build_counter.name, cache="other").fit_transform(paths)

    assert len(build_counter.builds) == 1


def test_construction_builds_no_network(build_counter: BuildCounter) -> None:
    clone(embedder(backbone=build_counter.name)).set_params(pool="max")

    assert not build_counter.builds


def test_threads_that_share_a_network_do_not_mix_their_rows(paths: list[str]) -> None:
    images = noise(64, 18, 20, 3)
    expected = embedder(cache="alone").transform(images)

    def one(number: int) -> Any:
        return embedder(cache=f"of-{number}", batch_size=1, workers=1).transform(images)

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(one, range(4)))

    assert all(np.allclose(x, expected, rtol=0.001, atol=1e-5) for x in results)
