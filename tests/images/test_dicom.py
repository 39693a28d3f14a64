"""DICOM files, where pydicom is installed.

Modules: images.containers.dicom.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featx.images.contents import DAMAGE_REASONS
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import read_source
from featx.images.sources import read_content
from tests.layouts import on_disk, write_zip

GREY: NDArray[np.uint16] = np.random.default_rng(0).integers(0, 4096, (8, 10), dtype=np.uint16)


def write_dicom(path: Path, values: NDArray[Any], **tags: Any) -> Path:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.dataset.Dataset()
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = values.shape[2] if values.ndim == 3 else 1, 0
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    dataset.BitsAllocated, dataset.PixelRepresentation = 8 * values.itemsize, 0
    dataset.BitsStored = 12 if values.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def pixels(path: Path) -> NDArray[Any]:
    content = read_content(str(path))
    assert isinstance(content, np.ndarray)
    return content


@pytest.mark.skipif(find_spec("pydicom") is not None, reason="the extra dicom is installed")
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    on_disk(tmp_path, {"cat/0.dcm": b"\0" * 128 + b"DICM", "dog/1.dcm": b"\0" * 128 + b"DICM"})
    listing = read_source(recognise(str(tmp_path), None), Path())
    assert listing.manifest.labels["class"].tolist() == ["cat", "dog"]
    reasons = {identify_image(uri).reason for uri in listing.manifest.uris}
    assert reasons == {'is DICOM, which needs an extra: pip install "featx[dicom]"'}


def test_stored_bits_are_the_range_without_a_window(tmp_path: Path) -> None:
    values = pixels(write_dicom(tmp_path / "a.dcm", GREY))
    assert values.dtype == np.uint16
    assert np.abs(values - GREY * (65535 / 4095)).max() <= 0.5


def test_a_window_and_a_rescaling_are_applied(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [400, 50], "WindowWidth": [1001, 10]}
    values = pixels(write_dicom(tmp_path / "a.dcm", GREY, **tags))
    expected = ((GREY * 2.0 - 1000 - (399.5 - 500)) / 1000).clip(0, 1) * 65535
    assert np.abs(values - expected).max() <= 0.5
    inverted = pixels(write_dicom(tmp_path / "b.dcm", GREY, **tags, PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(65535 - expected - inverted).max() <= 0.5


EMPTY_TAGS: list[dict[str, Any]] = [
    {"WindowCenter": None, "WindowWidth": None},
    {"WindowCenter": 400, "WindowWidth": None},
    {"WindowCenter": [], "WindowWidth": []},
    {"RescaleSlope": None, "RescaleIntercept": None, "NumberOfFrames": None},
]


@pytest.mark.filterwarnings("ignore:A value of 'None' for .* 'Number of Frames'")
@pytest.mark.parametrize("tags", EMPTY_TAGS)
def test_a_tag_without_a_value_counts_as_missing(tags: dict[str, Any], tmp_path: Path) -> None:
    expected = pixels(write_dicom(tmp_path / "a.dcm", GREY))
    assert (pixels(write_dicom(tmp_path / "b.dcm", GREY, **tags)) == expected).all()


def test_colours_are_unchanged_in_folders_and_archives(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    for name in ("cat/0.dcm", "dog/1.DCM"):
        write_dicom(tmp_path / "d" / name, colours)
    assert (pixels(tmp_path / "d/cat/0.dcm") == colours).all()
    files = {name: (tmp_path / "d" / name).read_bytes() for name in ("cat/0.dcm", "dog/1.DCM")}
    listing = read_source(recognise(str(write_zip(tmp_path / "a.zip", files)), None), Path())
    assert all((read_content(uri) == colours).all() for uri in listing.manifest.uris)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 3}, "has 3 frames, expected one"),
        ({"Rows": 60_000, "Columns": 60_000}, "has 7200000000 bytes, expected at most"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "has a window of width 0, expected at least 1"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "has a rescale slope of 0"),
        ({"Rows": 9}, "cannot be read as DICOM: "),
        ({"Rows": None}, "is DICOM without an image"),
    ],
)
def test_an_unusual_file_is_unreadable(tags: dict[str, Any], reason: str, tmp_path: Path) -> None:
    identity = identify_image(str(write_dicom(tmp_path / "a.dcm", GREY, **tags)))
    assert (identity.outcome, reason in identity.reason) == ("unreadable", True), identity.reason


def test_a_broken_or_deflated_file_is_unreadable(tmp_path: Path) -> None:
    content = write_dicom(tmp_path / "a.dcm", GREY).read_bytes()
    for broken_content in (content[:200], content[:-40], b"no DICOM" * 100):
        (tmp_path / "a.dcm").write_bytes(broken_content)
        reason = identify_image(str(tmp_path / "a.dcm")).reason
        assert reason.startswith(("cannot be read as DICOM: ", "is DICOM without an image"))
    (tmp_path / "a.dcm").write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"))
    assert "compressed as a whole" in identify_image(str(tmp_path / "a.dcm")).reason


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        ("JPEGLSLossless", "its compression needs one of these packages: .*pyjpegls"),
        ("MPEG2MPML", "is DICOM of a kind that pydicom does not read: .*; convert it"),
        ("RLELossless", "cannot be read as DICOM: "),
    ],
)
def test_an_intact_file_that_cannot_be_unpacked_is_not_called_damaged(syntax: str, reason: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY)
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff" * 20])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    identity = identify_image(str(path))
    assert identity.outcome == "unreadable"
    assert re.search(reason, identity.reason)
    assert identity.reason.startswith(DAMAGE_REASONS) == (syntax == "RLELossless")
