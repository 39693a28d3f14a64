"""Places of image sources and the states of label files."""

from pathlib import Path

import pytest

import featx
from featx.errors import DataError, MissingExtraError
from featx.locations import (
    base_folder,
    existing_file,
    label_file_states,
    reads_source,
    resolve_source,
    split_archive_place,
)
from featx.specs.data import ArraySpec, LabelsSpec, ReaderSpec


def test_a_source_is_relative_to_the_folder_given(tmp_path: Path) -> None:
    assert resolve_source("images", tmp_path) == str(tmp_path / "images")
    assert resolve_source(str(tmp_path / "images"), Path("/elsewhere")) == str(tmp_path / "images")
    assert resolve_source("all.zip!inside", tmp_path) == str(tmp_path / "all.zip!inside")


def test_a_source_may_lie_inside_an_installed_package() -> None:
    package_folder = Path(next(iter(featx.__path__)))
    assert resolve_source("package:featx/images", Path("/elsewhere")) == str(package_folder / "images")
    assert resolve_source("package:featx", Path("/elsewhere")) == str(package_folder)


def test_a_url_is_not_changed(tmp_path: Path) -> None:
    assert resolve_source("s3://bucket/some/prefix", tmp_path) == "s3://bucket/some/prefix"


@pytest.mark.parametrize("package", ["no_such_package", "__main__"])
def test_a_missing_package_is_reported(package: str, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=f"no Python package '{package}' is installed; install it with pip"):
        resolve_source(f"package:{package}/data", tmp_path)


@pytest.mark.parametrize("package", ["evil.sub", "evil.sub.more", ".evil", "evil.", "", "../evil", "featx.images"])
def test_only_top_level_packages_are_found_and_none_is_imported(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil" / "sub").mkdir(parents=True)
    (tmp_path / "evil" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_source("package:evil/sub", tmp_path) == str(tmp_path / "evil" / "sub")
    with pytest.raises(DataError, match="is not the name of a top-level package|no Python package ''"):
        resolve_source(f"package:{package}/data", tmp_path)


def test_base_folder_is_the_source_or_the_folder_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "all.zip").touch()
    (tmp_path / "odd!").mkdir()
    (tmp_path / "odd!" / "a!b.zip").touch()
    assert base_folder(str(tmp_path)) == tmp_path
    assert base_folder(str(tmp_path / "all.zip")) == tmp_path
    assert base_folder(str(tmp_path / "all.zip!inside")) == tmp_path
    assert base_folder(str(tmp_path / "odd!")) == tmp_path / "odd!"
    assert base_folder(str(tmp_path / "odd!" / "a!b.zip!inside!too")) == tmp_path / "odd!"
    assert base_folder("s3://bucket/prefix") is None


def test_a_place_is_split_after_the_archive(tmp_path: Path) -> None:
    (tmp_path / "odd!").mkdir()
    archive = tmp_path / "odd!" / "a!b.zip"
    archive.touch()
    assert split_archive_place(f"{archive}!inside!too") == (str(archive), "inside!too")
    assert split_archive_place(str(archive)) == (str(archive), "")
    assert split_archive_place(str(tmp_path / "gone!" / "a.zip")) == (str(tmp_path / "gone!" / "a.zip"), "")


def test_a_missing_file_is_reported_with_its_path_and_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^data.arrays: '{tmp_path}/x.npy' does not exist; expected a file"):
        existing_file(tmp_path / "x.npy", "data.arrays")
    (tmp_path / "x.npy").touch()
    assert existing_file(tmp_path / "x.npy", "data.arrays") == tmp_path / "x.npy"


def test_label_states_depend_only_on_the_label_files(tmp_path: Path) -> None:
    for name in ("labels.csv", "x.npy", "y.npy"):
        (tmp_path / name).write_text("a")
    table = ReaderSpec(source=".", labels=LabelsSpec(file="labels.csv"))
    arrays = ReaderSpec(source=".", arrays=(ArraySpec(images="x.npy", labels={"y": "y.npy", "z": "y.npy"}),))
    states_before = label_file_states(table, tmp_path), label_file_states(arrays, tmp_path)
    assert [len(states) for states in states_before] == [1, 1]
    (tmp_path / "x.npy").write_text("longer")
    assert (label_file_states(table, tmp_path), label_file_states(arrays, tmp_path)) == states_before
    (tmp_path / "labels.csv").write_text("longer")
    (tmp_path / "y.npy").write_text("longer")
    assert label_file_states(table, tmp_path) != states_before[0]
    assert label_file_states(arrays, tmp_path) != states_before[1]


def test_a_table_inside_an_archive_has_the_state_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "all.zip").touch()
    data = ReaderSpec(source="all.zip!inside", labels=LabelsSpec(file="labels.csv"))
    (state_before,) = label_file_states(data, tmp_path)
    (tmp_path / "all.zip").write_text("longer")
    assert label_file_states(data, tmp_path) != [state_before]


def test_class_folders_urls_and_missing_files_have_no_states(tmp_path: Path) -> None:
    assert label_file_states(ReaderSpec(source="."), tmp_path) == []
    assert label_file_states(ReaderSpec(source="s3://bucket", labels=LabelsSpec(file="labels.csv")), tmp_path) == []
    assert label_file_states(ReaderSpec(source=".", labels=LabelsSpec(file="gone.csv")), tmp_path) == []


def test_a_data_section_reads_its_source_a_folder_above_and_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    (tmp_path / "photos" / "labels.csv").touch()
    monkeypatch.chdir(tmp_path)
    spec = ReaderSpec(source="photos", labels=LabelsSpec(file="labels.csv"))
    assert all(reads_source(spec, tmp_path, source) for source in ("photos", "photos/", ".", "photos/labels.csv"))
    assert not any(reads_source(spec, tmp_path, source) for source in ("photos/inner", "photo", "photos/other.csv"))
    assert reads_source(ReaderSpec(source="s3://bucket/photos"), tmp_path, "s3://bucket/photos/")
    assert not reads_source(ReaderSpec(source="s3://bucket/photos"), tmp_path, "photos")
