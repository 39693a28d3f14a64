import shutil
from pathlib import Path

import pytest
from PIL import Image

from featx.errors import DataError, UnknownNameError
from featx.images.readers import is_image_name, read_source
from featx.registry import READERS
from featx.specs import ReaderSpec

every_reader = pytest.mark.parametrize("name", READERS.names())
IDS = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(3)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six images in a way that every reader can read: class folders, and a table that names them."""
    folder = tmp_path / "source"
    for name in IDS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    lines = [f"{name},{Path(name).parent}" for name in IDS]
    (folder / "labels.csv").write_text("\n".join(["path,class", *lines]) + "\n")
    return folder


def spec(name: str, source: Path) -> ReaderSpec:
    """Say how the reader `name` reads the source."""
    reader = READERS.get(name)()
    data = reader.recognise(source, None) or reader.recognise(source, source / "labels.csv")
    assert isinstance(data, ReaderSpec), f"{name} does not recognise the source of this suite"
    return data


@every_reader
def test_a_source_is_listed_the_same_twice(name: str, source: Path) -> None:
    data = spec(name, source)
    assert data.reader_name == name
    one, two = (read_source(data, Path()) for _ in range(2))
    assert sorted(one.ids) == IDS
    assert one.ids.tolist() == two.ids.tolist()
    assert one.labels.equals(two.labels)


@every_reader
def test_rows_are_unique_without_digests_and_lead_to_their_images(name: str, source: Path) -> None:
    manifest = read_source(spec(name, source), Path())
    assert len(set(manifest.ids)) == len(manifest)
    assert set(manifest.digests) == {""}
    assert manifest.labels.index.tolist() == manifest.ids.tolist()
    for row, uri in zip(manifest.ids, manifest.uris, strict=True):
        assert isinstance(uri, str)
        assert Path(uri).samefile(source / row)
    assert manifest.column("class").tolist() == [row.split("/")[0] for row in manifest.ids]


@every_reader
def test_no_image_is_opened(name: str, source: Path) -> None:
    data = spec(name, source)
    for row in IDS:
        (source / row).write_bytes(b"")
    assert len(read_source(data, Path())) == len(IDS)


@every_reader
def test_an_empty_source_is_an_error(name: str, source: Path) -> None:
    data = spec(name, source)
    shutil.rmtree(source)
    with pytest.raises(DataError, match="nothing lies at"):
        read_source(data, Path())
    source.mkdir()
    with pytest.raises(DataError, match=r"no images in|nothing lies at"):
        read_source(data, Path())


@every_reader
def test_an_empty_folder_is_not_recognised(name: str, tmp_path: Path) -> None:
    assert READERS.get(name)().recognise(tmp_path, None) is None


def test_a_reader_that_is_not_there_is_an_error(source: Path) -> None:
    data = ReaderSpec.model_construct(source=str(source), labels=None, reader="foldr")
    with pytest.raises(UnknownNameError, match="no reader is called 'foldr'; did you mean 'folder'"):
        read_source(data, Path())


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.b.jpeg", "a/b c.TIFF", "ä.webp"])
def test_images_are_known_by_their_ending(name: str) -> None:
    assert is_image_name(Path(name))


@pytest.mark.parametrize("name", ["a.txt", "png", ".png", "a/.b.png", "a.png.part", "a", "1.0"])
def test_other_files_and_hidden_ones_are_not_images(name: str) -> None:
    assert not is_image_name(Path(name))
