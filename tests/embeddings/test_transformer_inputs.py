"""The transformer takes files, PIL images and arrays, and names wrong settings and unreadable images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featx.errors import DataError, RecipeError, UnknownNameError, WeightsError
from featx.networks.backbones import get_backbone
from tests.embeddings.embedders import D, embedder, noise

ORIENTATION = 0x0112


def pictures() -> dict[str, Image.Image]:
    rgb, rgba = noise(18, 20, 3), noise(18, 20, 4)
    grey = Image.fromarray(noise(18, 20))
    keyed = Image.fromarray(rgb).quantize(16)
    keyed.info["transparency"] = 3
    see_through, grey_see_through = Image.fromarray(rgb // 64 * 64), Image.fromarray(noise(18, 20) // 64 * 64)
    for image in (see_through, grey_see_through):
        image.info["transparency"] = image.getpixel((0, 0))
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
def test_a_pil_image_has_the_vector_of_its_file(kind: str, home: Path) -> None:
    picture = pictures()[kind]
    picture.save("one.png")

    with Image.open("one.png") as pil_image:
        assert pil_image.mode == kind.partition(",")[0]
        of_file, of_opened, of_picture = embedder().transform(["one.png", pil_image, picture])

    assert of_opened.tobytes() == of_file.tobytes()
    assert of_picture.tobytes() == of_file.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_to_pil_images(orientation: int, home: Path) -> None:
    picture = Image.fromarray(noise(18, 30, 3))
    picture.getexif()[ORIENTATION] = orientation
    picture.save("one.png", exif=picture.getexif())

    with Image.open("one.png") as pil_image:
        x = embedder(tap="0.0", pool="flatten").transform(["one.png", pil_image, np.asarray(pil_image)])

    assert x[1].tobytes() == x[0].tobytes()
    assert (x[2].tobytes() == x[0].tobytes()) == (orientation == 1)  # an array has no such mark


def test_an_opened_cmyk_jpeg_has_the_vector_of_its_file(home: Path) -> None:
    Image.fromarray(noise(18, 20, 4), "CMYK").save("one.jpg")

    with Image.open("one.jpg") as pil_image:
        of_file, of_opened = embedder().transform(["one.jpg", pil_image])

    assert np.allclose(of_file, of_opened, rtol=0.0001)


@pytest.mark.parametrize("shape", [(18, 20), (18, 20, 1), (18, 20, 2), (18, 20, 3), (18, 20, 4)])
def test_an_array_has_the_vector_of_its_file_in_both_channel_orders(shape: tuple[int, ...], home: Path) -> None:
    values = noise(*shape)
    Image.fromarray(values[..., 0] if shape[2:] == (1,) else values).save("one.png")
    first = np.moveaxis(values, -1, 0) if len(shape) == 3 else values

    # A file says which channel is transparency, and an array does not.
    bands = {2: [0], 4: [0, 1, 2]}.get(shape[-1] if len(shape) == 3 else 1)
    transformer = embedder(decoding={"bands": bands} if bands else None)
    x = transformer.transform(["one.png", values, first, np.asfortranarray(values), first.copy()])

    assert [row.tobytes() for row in x] == [x[0].tobytes()] * 5


def test_arrays_of_other_dtypes_are_scaled_to_uint8(home: Path) -> None:
    grey, black_and_white = noise(18, 20), noise(18, 20) > 99
    Image.fromarray(grey).save("grey.png")
    Image.fromarray(black_and_white).save("bits.png")

    x = embedder().transform(["grey.png", grey / 255, (grey / np.float32(255)), "bits.png", black_and_white])
    scaled_rows = embedder(decoding={"value_range": (0, 255)}).transform(
        [grey.astype(np.int64), grey.astype(np.float32)]
    )

    assert [row.tobytes() for row in (*x[:3], *scaled_rows)] == [x[0].tobytes()] * 5
    assert x[3].tobytes() == x[4].tobytes()


def test_an_opened_image_is_decoded_by_the_settings(home: Path) -> None:
    grey = noise(18, 20)
    Image.fromarray(grey).save("grey.png")
    wide = Image.fromarray(grey.astype(np.int32))
    colours = Image.merge("RGBA", [Image.fromarray(channel) for channel in (grey // 2, grey, grey // 3, grey // 4)])

    x = embedder().transform(["grey.png"])[0].tobytes()

    assert embedder(decoding={"value_range": (0, 255)}).transform([wide])[0].tobytes() == x
    assert embedder(decoding={"bands": [1]}).transform([colours])[0].tobytes() == x


def test_one_list_may_hold_images_of_all_kinds(paths: list[str]) -> None:
    pil_images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in pil_images]
    mixed = [
        paths[6],
        pil_images[1],
        arrays[4],
        Path(paths[0]),
        pil_images[6],
        np.moveaxis(arrays[1], 2, 0),
        "gone.png",
    ]

    x = embedder(on_error="nan").transform(mixed)

    expected = embedder(cache="other").transform(paths)[[6, 1, 4, 0, 6, 1]]
    assert x[:6].tobytes() == expected.tobytes()
    assert np.isnan(x[6]).all()


def test_one_array_of_images_is_a_list_of_them(paths: list[str]) -> None:
    images = np.stack([np.asarray(Image.open(path)) for path in paths])

    assert embedder().transform(images).tobytes() == embedder().transform(paths).tobytes()


WRONG = {
    "pool": ("mean", RecipeError, "ImageEmbedder: pool: found 'mean', expected to be 'avg', 'max'"),
    "backbone": ("efficientnet_lite00", RecipeError, "did you mean 'efficientnet_lite0'?"),
    "runtime": ("tensorrt", RecipeError, "ImageEmbedder: runtime: .*'tensorrt'"),
    "batch_size": (0, RecipeError, "ImageEmbedder: batch_size: found 0, .* greater than or equal to 1"),
    "workers": (-1, RecipeError, "ImageEmbedder: workers: found -1"),
    "size_px": (4, RecipeError, "ImageEmbedder: size_px: found 4"),
    "decoding": ({"bands": [0, 1]}, RecipeError, "ImageEmbedder.decoding: expected bands"),
    "mean": ([0.5], RecipeError, "ImageEmbedder: mean"),
    "precision": ("auto", DataError, "precision: found 'auto', expected 'fp32', 'bf16' or 'fp16'"),
    "weights": ("gone.pth", WeightsError, r"weights '.*gone\.pth': no such file"),
    "tap": ("nowhere", UnknownNameError, "no layer is called 'nowhere'; known: last, 0, 0.0"),
    "on_error": ("skip", DataError, "on_error: found 'skip', expected 'raise' or 'nan'"),
}


@pytest.mark.parametrize("step", ["fit", "transform"])
@pytest.mark.parametrize("setting", WRONG)
def test_fit_and_transform_name_a_wrong_setting(setting: str, step: str, paths: list[str]) -> None:
    value, error, message = WRONG[setting]
    transformer = embedder(**{setting: value})

    with pytest.raises(error, match=message):
        getattr(transformer, step)(paths)


@pytest.mark.parametrize("setting", ["pool", "tap"])
def test_a_list_of_values_is_refused_for_a_single_setting(setting: str, paths: list[str]) -> None:
    grid = {"pool": ["avg", "max"], "tap": ["0.0", "0.3"]}[setting]

    with pytest.raises(RecipeError, match=f"ImageEmbedder: {setting}: found"):
        embedder(**{setting: grid}).fit(paths)


@pytest.mark.parametrize("image", ["images/dark/000.png", Path("images/dark/000.png"), Image.new("RGB", (20, 18))])
def test_a_single_image_is_refused(image: object, paths: list[str]) -> None:
    kind = type(image).__name__

    with pytest.raises(DataError, match=f"expected a list of images, found a single {kind}; put it into a list"):
        embedder().transform(image)


def test_a_single_grey_array_is_refused(home: Path) -> None:
    with pytest.raises(DataError, match="expected a list of images, found a single ndarray; put it into a list"):
        embedder().transform(noise(18, 20))


def test_a_single_colour_array_is_refused(home: Path) -> None:
    with pytest.raises(DataError, match="expected a list of images, found a single ndarray; put it into a list"):
        embedder().transform(noise(18, 20, 3))


@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("value", [7, None, 0.5, [[1, 2], [3, 4]], np.arange(5)])
def test_a_value_that_is_no_image_is_an_error_that_names_it(value: object, on_error: str, paths: list[str]) -> None:
    kind = type(value).__name__

    with pytest.raises(DataError, match=f"image 2 is {kind}, expected a path, a PIL image or an array"):
        embedder(on_error=on_error).transform([*paths[:2], value])


def broken_files() -> dict[str, str]:
    """Write files that are no images; return name → reason."""
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
def test_an_unreadable_file_is_an_error_that_names_it(name: str, paths: list[str]) -> None:
    reason = broken_files()[name]
    transformer = embedder()

    for _ in range(2):  # what failed once fails again
        with pytest.raises(DataError, match=f"1 of 3 images have no embedding, first '.*/{name}': {reason}; leave"):
            transformer.transform([paths[0], name, paths[1]])


def test_an_unreadable_file_is_a_row_of_nan_and_shifts_no_row(paths: list[str]) -> None:
    first, *other_names = broken_files()
    images = [first, paths[3], *other_names, paths[0], first, paths[3]]
    broken_rows = [0, 2, 3, 4, 6]

    x = embedder(on_error="nan").transform(images)

    assert np.flatnonzero(np.isnan(x).any(axis=1)).tolist() == broken_rows
    assert np.isnan(x[broken_rows]).all()
    expected = embedder(cache="other").transform([paths[3], paths[0], paths[3]])
    assert x[[1, 5, 7]].tobytes() == expected.tobytes()


def test_all_rows_are_nan_if_no_file_is_readable(home: Path) -> None:
    x = embedder(on_error="nan").transform([*broken_files()])

    assert x.shape == (4, D)
    assert np.isnan(x).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((18, 20, 18)), r"has shape \(18, 20, 18\)"),
        (np.zeros((18, 20, 7)), r"has 7 channels without names; choose 1 or 3 by position"),
        (np.zeros((18, 20, 4)), r"has 4 channels without names; choose .* decoding\.bands = \[0, 1, 2\]"),
        (np.full((18, 20), 7), r"holds values from 7 to 7 of int64; set decoding\.value_range"),
        (np.zeros((0, 20, 3)), r"has shape \(0, 20, 3\)"),
        (np.full((18, 20), np.nan), "holds nan or infinity"),
        (np.full((18, 20), "x"), "holds <U1, expected numbers"),
    ],
)
def test_an_invalid_array_is_an_error_or_nan(values: Any, reason: str, paths: list[str]) -> None:
    images = [paths[0], values]

    with pytest.raises(DataError, match=f"1 of 2 images have no embedding, first image 1: {reason}"):
        embedder().transform(images)

    x = embedder(on_error="nan").transform(images)
    assert np.isnan(x).all(axis=1).tolist() == [False, True]


def test_a_nan_vector_is_an_error_or_nan(paths: list[str]) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in get_backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number
    torch.save(state, "overflows.pth")
    white = Image.new("RGB", (20, 20), "white")

    with pytest.raises(DataError, match="first image 1: the network gives values that are not finite"):
        embedder(weights="overflows.pth").transform([paths[0], white])
    x = embedder(weights="overflows.pth", on_error="nan").transform([paths[0], white])
    assert np.isnan(x).all(axis=1).tolist() == [False, True]


def saved_weights(place: Path, level: float) -> None:
    torch.save({name: torch.full_like(x, level) for name, x in get_backbone("toy").build().state_dict().items()}, place)


def test_changed_weight_files_are_read_again(paths: list[str]) -> None:
    saved_weights(Path("anew.pth"), 0.1)
    first = embedder(weights="anew.pth").fit_transform(paths)
    saved_weights(Path("anew.pth"), 0.2)

    second = embedder(weights="anew.pth").fit_transform(paths)

    assert not np.allclose(first, second, rtol=0.1)


def test_relative_weight_paths_start_at_the_working_directory(
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
