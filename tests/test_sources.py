from pathlib import Path

import pytest

import featx
from featx.errors import DataError, MissingExtraError
from featx.sources import labels_path, source_path
from featx.specs import LabelsSpec, ReaderSpec


def test_a_source_is_relative_to_the_folder_given(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert source_path("images", tmp_path) == tmp_path / "images"
    assert source_path(str(tmp_path / "images"), Path("/elsewhere")) == tmp_path / "images"


def test_a_source_may_lie_inside_an_installed_package() -> None:
    here = Path(next(iter(featx.__path__)))
    assert source_path("package:featx/images", Path("/elsewhere")) == here / "images"
    assert source_path("package:featx.images", Path("/elsewhere")) == here / "images"
    assert source_path("package:featx", Path("/elsewhere")) == here


def test_a_source_that_is_not_there_is_told_with_its_whole_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.source: nothing lies at '{tmp_path}/gone'; expected a folder"):
        source_path("gone", tmp_path)
    with pytest.raises(DataError, match=r"nothing lies at '.*/featx/gone'"):
        source_path("package:featx/gone", tmp_path)


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.inside", "featx.gone"])
def test_a_package_that_is_not_installed_is_named(package: str, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=f"no Python package '{package}' is installed; install it with pip"):
        source_path(f"package:{package}/data", tmp_path)


def test_labels_lie_in_the_source(tmp_path: Path) -> None:
    data = ReaderSpec(source=".", labels=LabelsSpec(file="labels.csv"))
    with pytest.raises(
        DataError, match=r"data.labels.file: nothing lies at '.*labels\.csv'; expected a CSV, TSV or Parquet"
    ):
        labels_path(data, tmp_path)
    (tmp_path / "labels.csv").touch()
    assert labels_path(data, tmp_path) == tmp_path / "labels.csv"
