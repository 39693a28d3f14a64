"""The settings of decoding that ``featx init`` proposes, for files and arrays of all depths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tomlkit
from PIL import Image

import featx
from featx.images.decode import decode
from featx.images.decoding_proposal import DecodingProposal, propose_decoding
from featx.specs.embedding import Decoding
from featx.specs.recipe import load_recipe
from tests.image_files import encode, noise, png16, tiff


def propose(folder: Path, contents: Sequence[bytes | np.ndarray]) -> DecodingProposal:
    """Return the proposal for some images."""
    uris = []
    for number, content in enumerate(contents):
        file = folder / f"{number}.img"
        if isinstance(content, bytes):
            file.write_bytes(content)
            uris.append(str(file))
        else:
            np.save(file.with_suffix(".npy"), content[np.newaxis])
            uris.append(f"row:{file.with_suffix('.npy')}///0")
    return propose_decoding(uris)


def levels(dtype: Any, *values: float) -> np.ndarray:
    """Return an image of 8 × 8 px with some values."""
    return np.resize(np.array(values, dtype=dtype), (8, 8))


RANGES = [
    (levels(np.uint16, 0, 4095), [0, 4095], "largest value seen 4095 of 65535"),
    (levels(np.uint16, 0, 900), [0, 1023], "largest value seen 900 of 65535"),
    (levels(np.uint16, 3, 255), [0, 255], "largest value seen 255 of 65535"),
    (levels(np.uint16, 0, 1), [0, 1], "largest value seen 1 of 65535"),
    (levels(np.uint16, 0, 10_000), [0, 16383], "largest value seen 10000 of 65535"),
    (levels(np.uint16, 0, 40_000), None, ""),
    (levels(np.uint8, 0, 3), None, ""),
    (levels(np.bool_, 0, 1), None, ""),
    (levels(np.int16, -1024, 3071), [-1024, 3071], "values from -1024 to 3071 of int16 seen"),
    (levels(np.int64, 0, 254), [0, 255], "values from 0 to 254 of int64 seen"),
    (levels(np.int32, 0, 10**6), [0, 10**6], "values from 0 to 1000000 of int32 seen"),
    (levels(np.int32, 0, 0), [0, 1], "values from 0 to 0 of int32 seen"),
    (levels(np.float32, 0, 1), None, ""),
    (levels(np.float32, 0, 254.5), [0, 255], "values from 0 to 254.5 of float32 seen"),
    (levels(np.float32, 0, 1.25), [0, 1.25], "values from 0 to 1.25 of float32 seen"),
    (levels(np.float64, -0.5, 1), [-1, 1], "values from -0.5 to 1 of float64 seen"),
    (levels(np.float64, -2.123456, 2.5), [-2.124, 2.5], "values from -2.12346 to 2.5 of float64 seen"),
]


@pytest.mark.parametrize(("values", "value_range", "reason"), RANGES)
def test_the_range_of_the_values_is_proposed(
    values: np.ndarray, value_range: list[float] | None, reason: str, tmp_path: Path
) -> None:
    contents: list[Any] = [values]
    if values.dtype in {np.dtype(t) for t in (np.uint16, np.int16, np.int32, np.float32)}:
        contents.append(tiff(values))
    if values.dtype == np.uint16:
        contents.append(encode(Image.fromarray(values)))
    for content in contents:
        proposal = propose(tmp_path, [content, content])
        assert proposal.settings.get("value_range") == value_range
        assert proposal.reasons.get("value_range", "") == reason
        assert proposal.warnings == []
        # The proposed settings decode the image, and no value is outside the range.
        image = decode(content, Decoding.model_validate(proposal.settings))
        assert "featx_outside_range" not in image.info


def test_one_range_holds_the_values_of_all_images(tmp_path: Path) -> None:
    proposal = propose(tmp_path, [levels(np.uint16, 0, 100), levels(np.uint16, 0, 4000), levels(np.uint16, 5, 9)])
    assert proposal.settings == {"value_range": [0, 4095]}
    proposal = propose(tmp_path, [levels(np.int16, -5, 100), levels(np.int16, 0, 700)])
    assert proposal.settings == {"value_range": [-5, 700]}


def test_colours_of_16_bits_are_measured_in_full(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (9, 11, 4)).astype(np.uint16)
    values[0, 0, 0], values[..., 3] = 4095, 65535
    assert propose(tmp_path, [png16(values)]).settings == {"value_range": [0, 4095]}
    assert propose(tmp_path, [png16(values[..., :3])]).settings == {"value_range": [0, 4095]}
    assert propose(tmp_path, [png16(values * 16)]).settings == {}


def test_different_depths_are_counted(tmp_path: Path) -> None:
    images = [encode(Image.fromarray(noise(8, 8)))] * 3 + [encode(Image.fromarray(levels(np.uint16, 0, 4095)))] * 2
    proposal = propose(tmp_path, images)
    assert proposal.depths == {"8 bits": 3, "16 bits": 2}
    assert proposal.settings == {"value_range": [0, 4095]}


def test_floats_in_two_units_are_reported(tmp_path: Path) -> None:
    proposal = propose(tmp_path, [levels(np.float32, 0, 1), levels(np.float32, 0, 200), levels(np.float32, 0, 0.5)])
    assert proposal.settings == {"value_range": [0, 255]}
    assert proposal.warnings == [
        "2 of 3 inspected images of floats hold values within [0, 1], and the others do not; all are scaled by one "
        "value_range: check that they have the same unit"
    ]


def test_floats_and_wide_integers_have_no_common_range(tmp_path: Path) -> None:
    proposal = propose(tmp_path, [levels(np.float32, 0, 7), levels(np.uint16, 0, 4095)])
    assert proposal.settings == {}
    assert proposal.warnings == [
        "some images hold floats and others integers of more than 8 bits, which one value_range cannot scale; convert "
        "them to one type"
    ]


@pytest.mark.parametrize(("n", "bands"), [(1, None), (2, [0]), (3, None), (4, [0, 1, 2]), (13, [0, 1, 2])])
@pytest.mark.parametrize("first", [True, False])
def test_channels_without_names_are_chosen(n: int, bands: list[int] | None, first: bool, tmp_path: Path) -> None:
    values = noise(16, 18, n).astype(np.uint16)
    proposal = propose(tmp_path, [np.moveaxis(values, 2, 0) if first else values] * 2)
    assert proposal.settings.get("bands") == bands
    if bands:
        assert proposal.reasons["bands"].startswith(f"{n} channels without names in 2 of 2 inspected images")
        assert ("Sentinel-2" in proposal.reasons["bands"]) == (n == 13)
    assert proposal.settings["value_range"] == [0, 255]


def test_the_range_is_that_of_the_chosen_channels(tmp_path: Path) -> None:
    values = np.zeros((8, 9, 4), dtype=np.uint16)
    values[..., :3], values[..., 3] = 4000, 60_000
    assert propose(tmp_path, [values]).settings == {"bands": [0, 1, 2], "value_range": [0, 4095]}


def test_transparency_of_a_file_needs_no_setting(tmp_path: Path) -> None:
    values = noise(6, 7, 4)
    files = [encode(Image.fromarray(values)), encode(Image.fromarray(values), "TIFF"), tiff(values, t338=(2,))]
    assert propose(tmp_path, files).settings == {}
    unnamed = propose(tmp_path, [tiff(values), encode(Image.fromarray(noise(6, 7)))])
    assert unnamed.settings == {"bands": [0, 1, 2]}
    assert unnamed.warnings == [
        "1 of 2 inspected images have fewer than 3 channels; they are unreadable with the proposed bands"
    ]


def test_unreadable_images_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lzw = encode(Image.fromarray(noise(64, 64).astype(np.uint16)), "TIFF", compression="tiff_lzw")
    damaged_tiff = lzw[:2000] + bytes(1000) + lzw[3000:]
    contents = [b"no image", levels(np.uint16, 0, 4095), damaged_tiff, levels(np.float32, np.nan)]
    proposal = propose(tmp_path, contents)
    assert proposal.settings == {"value_range": [0, 4095]}
    assert proposal.depths == {"16 bits": 1}
    assert capfd.readouterr() == ("", "")


def test_init_writes_the_settings_with_their_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.zeros((12, 16, 16, 4), dtype=np.uint16)
    values[..., 1] = 3000
    with h5py.File("tiles.h5", "w") as file:
        file["images"], file["labels"] = values, np.arange(12) % 2
    recognition = featx.init("tiles.h5")
    assert recognition.decoding.settings == {"bands": [0, 1, 2], "value_range": [0, 4095]}
    assert load_recipe("featx.toml").decoding == Decoding(bands=(0, 1, 2), value_range=(0, 4095))
    text = Path("featx.toml").read_text()
    assert "# 4 channels without names in 12 of 12 inspected images\nbands = [0, 1, 2]\n" in text
    assert "# largest value seen 3000 of 65535\nvalue_range = [0, 4095]\n" in text


def test_init_writes_no_setting_that_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path("images", name).mkdir(parents=True)
        Path("images", name, "0.png").write_bytes(encode(Image.fromarray(noise(8, 8, 4))))
    featx.init("images")
    assert "decoding" not in tomlkit.parse(Path("featx.toml").read_text())


@pytest.mark.parametrize("channels_first", [False, True])
def test_arrays_with_many_channels_are_images(
    channels_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = noise(8, 16, 16, 13)
    np.save("x.npy", np.moveaxis(values, 3, 1) if channels_first else values)
    np.save("y.npy", np.arange(8) % 2)
    recognition = featx.init(".")
    assert recognition.n_found == 8
    assert recognition.sizes_px == {"16×16": 8}
    assert recognition.decoding.settings == {"bands": [0, 1, 2]}
