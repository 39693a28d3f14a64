"""Embeddings as a scikit-learn step: the vectors of the cache, in the order of what is asked for."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from featx import ImageEmbedder, extract
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, RecipeError, UnknownNameError, WeightsError
from featx.networks.backbones import Backbone, backbone
from featx.registry import BACKBONES
from featx.study.study import Study

D = 8  # of the toy backbone
ORIENTATION = 0x0112
# Those that look at the object alone: all others fit rows of numbers, of which images are none.
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
KNOWN_CHECKS = [name for name in CHECKS if hasattr(estimator_checks, name)]


def embedder(**said: Any) -> ImageEmbedder:
    return ImageEmbedder(**{"backbone": "toy", "weights": "none", "cache": Path("cache").absolute()} | said)


@pytest.fixture
def paths(toy_home: Path) -> list[str]:
    """Four pictures of each of two classes, dark ones first, under the working directory."""
    return [f"images/{name}/{number:03}.png" for name in ("dark", "light") for number in range(4)]


def noise(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def files(cache: Path) -> dict[str, int]:
    """The files of the stores, and when they were written."""
    return {str(path): path.stat().st_mtime_ns for path in cache.glob("*.zarr/**/*") if path.is_file()}


def n_rows(cache: Path) -> int:
    """How many rows the stores have, whichever segments they are in."""
    return sum(path.stat().st_size // 16 for path in cache.glob("*.zarr/segment-*/digest/c/0/0"))


class Counted(NamedTuple):
    """A backbone, and a list that grows with each network that is built of it."""

    name: str
    builds: list[str]


@pytest.fixture
def counted(home: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A toy under a name of its own, so that no other test has built its network."""
    made = Counted(f"counted_{home.name}", [])

    def plan() -> Backbone:
        def build() -> torch.nn.Module:
            made.builds.append("built")
            return backbone("toy").build()

        return replace(backbone("toy"), build=build)

    monkeypatch.setitem(BACKBONES._added, made.name, plan)
    return made


# Rows


def test_a_row_of_float32_comes_for_each_image(paths: list[str]) -> None:
    made = embedder()

    x = made.fit(paths).transform(paths)

    assert (x.shape, x.dtype, made.n_features_out_) == ((8, D), np.float32, D)
    assert np.isfinite(x).all()
    assert len({row.tobytes() for row in x}) == 8


def test_rows_stand_in_the_order_of_the_input_and_what_is_twice_in_it_is_twice_in_them(paths: list[str]) -> None:
    shutil.copy(paths[2], "twin.png")
    x = embedder().transform(paths)
    order = [5, 2, 2, 7, 0, 5]

    found = embedder(cache="other").transform([*(paths[at] for at in order), "twin.png"])

    assert found.tobytes() == x[[*order, 2]].tobytes()
    assert n_rows(Path("other")) == 4


def test_a_transformation_needs_no_fit_and_changes_nothing_after_one(paths: list[str]) -> None:
    made = embedder()
    before = made.transform(paths)

    assert made.fit(paths[:1], [0]) is made
    assert made.transform(paths).tobytes() == before.tobytes()
    assert embedder(cache="other").fit_transform(paths).tobytes() == before.tobytes()


@pytest.mark.parametrize("container", [tuple, np.array, pd.Series, pd.Index, iter])
def test_paths_may_stand_in_whatever_can_be_gone_through(
    container: Callable[[list[str]], Any], paths: list[str]
) -> None:
    assert embedder().transform(container(paths)).tobytes() == embedder().transform(paths).tobytes()


def test_paths_may_be_text_or_paths_absolute_or_not(paths: list[str]) -> None:
    one = paths[3]

    x = embedder().transform([one, Path(one), Path(one).absolute(), str(Path(one).absolute()), f"./{one}"])

    assert [row.tobytes() for row in x] == [x[0].tobytes()] * 5
    assert n_rows(Path("cache")) == 1


def test_a_path_that_is_not_unicode_is_a_path(paths: list[str]) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(paths[0], odd)

    x = embedder().transform([odd, paths[0]])

    assert x[0].tobytes() == x[1].tobytes()


def test_a_file_that_changes_gets_another_vector(paths: list[str]) -> None:
    made = embedder()
    before = made.transform(paths[:2])
    Image.fromarray(noise(18, 20, 3)).save(paths[0])

    after = made.transform(paths[:2])

    assert after[0].tobytes() != before[0].tobytes()
    assert after[1].tobytes() == before[1].tobytes()


@pytest.mark.parametrize("setting", [{"pool": "avgmax"}, {"tap": "0.0"}, {"size_px": 24}, {"views": "flip"}])
def test_settings_make_the_numbers(setting: dict[str, Any], paths: list[str]) -> None:
    x, other = embedder().transform(paths), embedder(**setting).fit(paths)

    found = other.transform(paths)

    assert found.shape == (8, other.n_features_out_)
    assert found.shape != x.shape or not np.allclose(found, x, rtol=0.001)


def test_an_empty_list_has_no_rows(home: Path) -> None:
    for nothing in ([], np.empty((0, 18, 20, 3), dtype=np.uint8)):
        x = embedder().transform(nothing)

        assert (x.shape, x.dtype) == ((0, D), np.float32)


# Images that are no files


def pictures() -> dict[str, Image.Image]:
    rgb, rgba = noise(18, 20, 3), noise(18, 20, 4)
    grey = Image.fromarray(noise(18, 20))
    keyed = Image.fromarray(rgb).quantize(16)
    keyed.info["transparency"] = 3
    see_through, grey_see_through = Image.fromarray(rgb // 64 * 64), Image.fromarray(noise(18, 20) // 64 * 64)
    for one in (see_through, grey_see_through):
        one.info["transparency"] = one.getpixel((0, 0))
    return {
        "1": grey.convert("1"),
        "L": grey,
        "L, one colour transparent": grey_see_through,
        "LA": Image.fromarray(rgba).convert("LA"),
        "I;16": Image.fromarray(noise(18, 20).astype(np.uint16) * 200),
        "P": Image.fromarray(rgb).quantize(16),
        "P, one colour transparent": keyed,
        "RGB": Image.fromarray(rgb),
        "RGB, one colour transparent": see_through,
        "RGBA": Image.fromarray(rgba),
    }


@pytest.mark.parametrize("kind", pictures())
def test_a_picture_gets_the_vector_of_its_file(kind: str, home: Path) -> None:
    picture = pictures()[kind]
    picture.save("one.png")

    with Image.open("one.png") as opened:
        assert opened.mode == kind.partition(",")[0]
        of_file, of_opened, of_picture = embedder().transform(["one.png", opened, picture])

    assert of_opened.tobytes() == of_file.tobytes()
    assert of_picture.tobytes() == of_file.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(orientation: int, home: Path) -> None:
    picture = Image.fromarray(noise(18, 30, 3))
    picture.getexif()[ORIENTATION] = orientation
    picture.save("one.png", exif=picture.getexif())

    with Image.open("one.png") as opened:
        x = embedder(tap="0.0", pool="flatten").transform(["one.png", opened, np.asarray(opened)])

    assert x[1].tobytes() == x[0].tobytes()
    assert (x[2].tobytes() == x[0].tobytes()) == (orientation == 1)  # an array has no such mark


def test_a_cmyk_jpeg_opened_gets_the_vector_of_its_file(home: Path) -> None:
    Image.fromarray(noise(18, 20, 4), "CMYK").save("one.jpg")

    with Image.open("one.jpg") as opened:
        of_file, of_opened = embedder().transform(["one.jpg", opened])

    assert np.allclose(of_file, of_opened, rtol=0.0001)


@pytest.mark.parametrize("shape", [(18, 20), (18, 20, 1), (18, 20, 2), (18, 20, 3), (18, 20, 4)])
def test_an_array_gets_the_vector_of_its_file_its_channels_last_or_first(shape: tuple[int, ...], home: Path) -> None:
    values = noise(*shape)
    Image.fromarray(values[..., 0] if shape[2:] == (1,) else values).save("one.png")
    first = np.moveaxis(values, -1, 0) if len(shape) == 3 else values

    x = embedder().transform(["one.png", values, first, np.asfortranarray(values), first.copy()])

    assert [row.tobytes() for row in x] == [x[0].tobytes()] * 5


def test_arrays_of_other_types_are_brought_to_their_range(home: Path) -> None:
    grey, black_and_white = noise(18, 20), noise(18, 20) > 99
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(black_and_white).save("bits.png")

    x = embedder().transform(
        ["grey.png", grey / 255, (grey / np.float32(255)), grey.astype(np.int64), "bits.png", black_and_white]
    )

    assert [row.tobytes() for row in x[:4]] == [x[0].tobytes()] * 4
    assert x[4].tobytes() == x[5].tobytes()


def test_images_of_all_kinds_may_stand_in_one_list(paths: list[str]) -> None:
    opened = [Image.open(path) for path in paths]
    arrays = [np.asarray(one) for one in opened]
    mixed = [paths[6], opened[1], arrays[4], Path(paths[0]), opened[6], np.moveaxis(arrays[1], 2, 0), "gone.png"]

    x = embedder(on_error="nan").transform(mixed)

    expected = embedder(cache="other").transform(paths)[[6, 1, 4, 0, 6, 1]]
    assert x[:6].tobytes() == expected.tobytes()
    assert np.isnan(x[6]).all()


def test_one_array_of_images_is_a_list_of_them(paths: list[str]) -> None:
    images = np.stack([np.asarray(Image.open(path)) for path in paths])

    assert embedder().transform(images).tobytes() == embedder().transform(paths).tobytes()


# The cache


def test_an_extraction_and_an_embedder_share_their_store(toy_home: Path) -> None:
    extract()
    study = Study.open(None)
    names, before = study.manifest.ids, files(Path("cache"))

    x = embedder().fit_transform([f"images/{name}" for name in names])

    assert x.tobytes() == read_embeddings(study, names, locked_embeddings(study)).x.tobytes()
    assert before
    assert files(Path("cache")) == before


def test_an_extraction_after_an_embedder_embeds_only_the_others(toy_home: Path) -> None:
    some = sorted(str(path) for path in Path("images").rglob("*.png"))[::4]
    x = embedder().transform(some)

    done = extract()

    assert (done.n_cached, done.n_embedded) == (12, 36)
    study = Study.open(None)
    names = [path.removeprefix("images/") for path in some]
    assert x.tobytes() == read_embeddings(study, names, locked_embeddings(study)).x.tobytes()


def test_a_second_transformation_embeds_nothing(paths: list[str]) -> None:
    images = [*paths, np.asarray(Image.open(paths[0])), Image.open(paths[1])]
    x = embedder().transform(images)
    before = files(Path("cache"))

    again = embedder().transform(images[::-1])

    assert again.tobytes() == x[::-1].tobytes()
    assert files(Path("cache")) == before
    assert n_rows(Path("cache")) == 10


def test_only_what_is_new_is_embedded(paths: list[str]) -> None:
    embedder().transform(paths[:3])

    embedder().transform(paths)

    assert n_rows(Path("cache")) == 8


def test_how_the_engine_runs_does_not_ask_for_the_images_again(paths: list[str]) -> None:
    x = embedder(batch_size=2, workers=1).transform(paths)
    before = files(Path("cache"))

    assert embedder(batch_size=5, device="cpu", runtime="torch").transform(paths).tobytes() == x.tobytes()
    assert files(Path("cache")) == before


def test_the_cache_is_where_the_environment_says(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(Path("elsewhere").absolute()))

    embedder(cache=None).transform(paths)
    embedder(cache="here").transform(paths)

    assert (n_rows(Path("elsewhere")), n_rows(Path("here"))) == (8, 8)  # what a caller names goes first
    assert not Path("cache").exists()


def test_the_cache_is_in_the_working_directory_where_nothing_is_said(paths: list[str]) -> None:
    embedder(cache=None).transform(paths)
    embedder(cache="here").transform(paths)

    assert (n_rows(Path("cache")), n_rows(Path("here"))) == (8, 8)


# Copies


def test_parameters_are_kept_as_they_are_given(home: Path) -> None:
    mean = [0.1, 0.2, 0.3]

    made = ImageEmbedder("toy", mean=mean, cache="somewhere", size_px=24)

    asked = made.get_params()
    assert asked["mean"] is mean
    assert (asked["backbone"], asked["cache"], asked["size_px"]) == ("toy", "somewhere", 24)
    assert asked.keys() >= {"weights", "tap", "pool", "precision", "device", "runtime", "workers", "on_error"}
    assert made.set_params(pool="max", mean=None) is made
    assert (made.pool, made.mean, made.cache) == ("max", None, "somewhere")
    assert not Path("somewhere").exists()


def test_its_text_names_what_is_not_the_default() -> None:
    assert repr(ImageEmbedder()) == "ImageEmbedder()"
    assert repr(ImageEmbedder("toy", pool="max")) == "ImageEmbedder(backbone='toy', pool='max')"


COPIES = {"clone": clone, "copy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_the_settings_and_the_numbers(way: str, paths: list[str]) -> None:
    made = embedder(pool="max", mean=[0.4, 0.5, 0.6]).fit(paths)
    x = made.transform(paths)

    other = COPIES[way](made)

    assert other.get_params() == made.get_params()
    assert hasattr(other, "n_features_out_") == (way != "clone")
    assert other.transform(paths).tobytes() == x.tobytes()
    assert len(pickle.dumps(made)) < 2000  # settings, and no network


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_builds_no_network(way: str, paths: list[str], counted: Counted) -> None:
    made = embedder(backbone=counted.name).fit(paths)
    made.transform(paths)
    assert len(counted.builds) == 1

    COPIES[way](made).fit(paths).transform(paths[::-1])
    embedder(backbone=counted.name, cache="other").fit_transform(paths)

    assert len(counted.builds) == 1


def test_the_making_of_one_builds_nothing(counted: Counted) -> None:
    clone(embedder(backbone=counted.name)).set_params(pool="max")

    assert not counted.builds


def test_threads_that_share_a_network_do_not_mix_their_rows(paths: list[str]) -> None:
    images = noise(64, 18, 20, 3)
    expected = embedder(cache="alone").transform(images)

    def one(number: int) -> Any:
        return embedder(cache=f"of-{number}", batch_size=1, workers=1).transform(images)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(one, range(4)))

    assert all(np.allclose(x, expected, rtol=0.001, atol=1e-5) for x in found)


# scikit-learn


def test_some_of_scikit_learns_checks_are_known() -> None:
    assert len(KNOWN_CHECKS) >= 9


@pytest.mark.parametrize("name", KNOWN_CHECKS)
def test_scikit_learns_checks_pass(name: str, home: Path) -> None:
    getattr(estimator_checks, name)("ImageEmbedder", embedder())


def test_columns_have_names_once_it_is_fitted(paths: list[str]) -> None:
    with pytest.raises(NotFittedError, match="This ImageEmbedder instance is not fitted yet"):
        embedder().get_feature_names_out()

    names = embedder().fit(paths).get_feature_names_out()

    assert names.tolist() == [f"imageembedder{number}" for number in range(D)]


def test_pandas_may_be_asked_for(paths: list[str]) -> None:
    made = embedder().set_output(transform="pandas")

    frame = made.fit_transform(paths)

    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == made.get_feature_names_out().tolist()
    assert frame.to_numpy().tobytes() == embedder().transform(paths).tobytes()
    assert (frame.dtypes == np.float32).all()


def test_it_is_a_step_of_a_pipeline(paths: list[str]) -> None:
    labels = ["dark"] * 4 + ["light"] * 4

    model = make_pipeline(embedder(), LogisticRegression(C=1e6, max_iter=10_000)).fit(paths[1:], labels[1:])

    assert model.predict(paths).tolist() == labels
    assert model[:-1].get_feature_names_out().tolist() == [f"imageembedder{number}" for number in range(D)]
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(paths).tobytes() == model.predict_proba(paths).tobytes()


def test_a_grid_of_settings_can_be_searched(paths: list[str], counted: Counted) -> None:
    labels = [0] * 4 + [1] * 4
    pipeline = make_pipeline(embedder(backbone=counted.name), LogisticRegression())
    grid = {"imageembedder__pool": ["avg", "max", "avgmax"], "logisticregression__C": [1.0, 100.0]}

    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths, labels)

    assert search.best_params_["imageembedder__pool"] in {"avg", "max", "avgmax"}
    assert len(search.cv_results_["params"]) == 6
    assert len(counted.builds) == 3
    assert n_rows(Path("cache")) == 3 * 8


def test_numbers_of_a_grid_may_be_numpys(paths: list[str]) -> None:
    grid = {"imageembedder__size_px": np.array([16, 24])}
    pipeline = make_pipeline(embedder(), LogisticRegression())

    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths, [0, 1] * 4)

    assert search.best_params_["imageembedder__size_px"] in {16, 24}


def test_jobs_in_other_processes_share_the_cache(paths: list[str]) -> None:
    made = ImageEmbedder(weights="none", size_px=32, cache=Path("cache").absolute(), workers=1)
    absolute = [str(Path(path).absolute()) for path in paths]
    pipeline = make_pipeline(made, LogisticRegression())

    scores = cross_val_score(pipeline, absolute, [0] * 4 + [1] * 4, cv=2, n_jobs=2, error_score="raise")
    halves = Parallel(n_jobs=2)(delayed(made.transform)(half) for half in (absolute[:4], absolute[4:]))

    before = files(Path("cache"))
    assert scores.shape == (2,)
    assert np.vstack(halves).tobytes() == made.transform(paths).tobytes()
    assert before
    assert files(Path("cache")) == before


def test_its_import_does_not_wait_for_torch() -> None:
    code = "import sys; from featx import ImageEmbedder; ImageEmbedder(); print('torch' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said == "False\n"


# What is wrong

WRONG = {
    "pool": ("mean", RecipeError, "ImageEmbedder: pool: found 'mean', expected to be 'avg', 'max'"),
    "backbone": ("efficientnet_lite00", RecipeError, "did you mean 'efficientnet_lite0'?"),
    "runtime": ("tensorrt", RecipeError, "ImageEmbedder: runtime: .*'tensorrt'"),
    "batch_size": (0, RecipeError, "ImageEmbedder: batch_size: found 0, .* greater than or equal to 1"),
    "workers": (-1, RecipeError, "ImageEmbedder: workers: found -1"),
    "size_px": (4, RecipeError, "ImageEmbedder: size_px: found 4"),
    "mean": ([0.5], RecipeError, "ImageEmbedder: mean"),
    "precision": ("auto", DataError, "precision: found 'auto', expected 'fp32', 'bf16' or 'fp16'"),
    "weights": ("gone.pth", WeightsError, r"weights '.*gone\.pth': no such file"),
    "tap": ("nowhere", UnknownNameError, "no layer is called 'nowhere'; known: 0, 0.0"),
    "on_error": ("skip", DataError, "on_error: found 'skip', expected 'raise' or 'nan'"),
}


@pytest.mark.parametrize("step", ["fit", "transform"])
@pytest.mark.parametrize("setting", WRONG)
def test_a_wrong_setting_is_named_by_fit_and_by_transform(setting: str, step: str, paths: list[str]) -> None:
    value, error, message = WRONG[setting]
    made = embedder(**{setting: value})

    with pytest.raises(error, match=message):
        getattr(made, step)(paths)


@pytest.mark.parametrize("setting", ["pool", "tap"])
def test_a_grid_of_a_recipe_is_no_setting(setting: str, paths: list[str]) -> None:
    grid = {"pool": ["avg", "max"], "tap": ["0.0", "0.3"]}[setting]

    with pytest.raises(RecipeError, match=f"ImageEmbedder: {setting}: found"):
        embedder(**{setting: grid}).fit(paths)


@pytest.mark.parametrize("one", ["images/dark/000.png", Path("images/dark/000.png"), Image.new("RGB", (20, 18))])
def test_one_image_is_no_list(one: object, paths: list[str]) -> None:
    kind = type(one).__name__

    with pytest.raises(DataError, match=f"expected a list of images, found a single {kind}; put it into a list"):
        embedder().transform(one)


def test_one_grey_array_is_no_list(home: Path) -> None:
    with pytest.raises(DataError, match="expected a list of images, found a single ndarray; put it into a list"):
        embedder().transform(noise(18, 20))


def test_one_colour_array_is_no_list(home: Path) -> None:
    with pytest.raises(DataError, match="expected a list of images, found a single ndarray; put it into a list"):
        embedder().transform(noise(18, 20, 3))


@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("odd", [7, None, 0.5, [[1, 2], [3, 4]], np.arange(5)])
def test_what_is_no_image_is_an_error_and_named(odd: object, on_error: str, paths: list[str]) -> None:
    kind = type(odd).__name__

    with pytest.raises(DataError, match=f"image 2 is {kind}, expected a path, a PIL image or an array"):
        embedder(on_error=on_error).transform([*paths[:2], odd])


def broken_files() -> dict[str, str]:
    """Write files that are no pictures; return the reason of each."""
    Path("note.png").write_text("no picture")
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    return {
        "gone.png": "there is no such file",
        "note.png": "is not an image of a known format",
        "empty.png": "is empty",
        "folder.png": "is not a regular file",
    }


@pytest.mark.parametrize("name", ["gone.png", "note.png", "empty.png", "folder.png"])
def test_a_file_without_a_picture_is_an_error_that_names_it(name: str, paths: list[str]) -> None:
    reason = broken_files()[name]
    made = embedder()

    for _ in range(2):  # what failed once fails again
        with pytest.raises(DataError, match=f"1 of 3 images have no embedding, first '.*/{name}': {reason}; leave"):
            made.transform([paths[0], name, paths[1]])


def test_a_file_without_a_picture_is_a_row_of_nan_and_shifts_no_other(paths: list[str]) -> None:
    first, *others = broken_files()
    asked = [first, paths[3], *others, paths[0], first, paths[3]]
    bad = [0, 2, 3, 4, 6]

    x = embedder(on_error="nan").transform(asked)

    assert np.flatnonzero(np.isnan(x).any(axis=1)).tolist() == bad
    assert np.isnan(x[bad]).all()
    expected = embedder(cache="other").transform([paths[3], paths[0], paths[3]])
    assert x[[1, 5, 7]].tobytes() == expected.tobytes()


def test_where_no_file_is_a_picture_all_rows_are_nan(home: Path) -> None:
    x = embedder(on_error="nan").transform([*broken_files()])

    assert x.shape == (4, D)
    assert np.isnan(x).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((18, 20, 7)), r"has shape \(18, 20, 7\)"),
        (np.zeros((0, 20, 3)), r"has shape \(0, 20, 3\)"),
        (np.full((18, 20), np.nan), "holds nan or infinity"),
        (np.full((18, 20), "x"), "holds <U1, expected numbers"),
    ],
)
def test_an_array_that_is_no_image_is_an_error_or_nan(values: Any, reason: str, paths: list[str]) -> None:
    asked = [paths[0], values]

    with pytest.raises(DataError, match=f"1 of 2 images have no embedding, first image 1: {reason}"):
        embedder().transform(asked)

    x = embedder(on_error="nan").transform(asked)
    assert np.isnan(x).all(axis=1).tolist() == [False, True]


def test_a_network_that_gives_nan_is_an_error_or_nan(paths: list[str]) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number
    torch.save(state, "overflows.pth")
    white = Image.new("RGB", (20, 20), "white")

    with pytest.raises(DataError, match="first image 1: the network gives values that are not finite"):
        embedder(weights="overflows.pth").transform([paths[0], white])
    x = embedder(weights="overflows.pth", on_error="nan").transform([paths[0], white])
    assert np.isnan(x).all(axis=1).tolist() == [False, True]


def saved_weights(place: Path, level: float) -> None:
    torch.save({name: torch.full_like(x, level) for name, x in backbone("toy").build().state_dict().items()}, place)


def test_weights_that_are_written_anew_are_read_anew(paths: list[str]) -> None:
    saved_weights(Path("anew.pth"), 0.1)
    first = embedder(weights="anew.pth").fit_transform(paths)
    saved_weights(Path("anew.pth"), 0.2)

    second = embedder(weights="anew.pth").fit_transform(paths)

    assert not np.allclose(first, second, rtol=0.1)


def test_weights_by_a_relative_path_are_those_of_the_working_directory(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [np.asarray(Image.open(path)) for path in paths]
    Path("there").mkdir()
    saved_weights(Path("relative.pth"), 0.1)
    saved_weights(Path("there/relative.pth"), 0.2)
    first = embedder(weights="relative.pth").fit_transform(images)

    monkeypatch.chdir("there")
    second = embedder(weights="relative.pth").fit_transform(images)

    assert not np.allclose(first, second, rtol=0.1)
