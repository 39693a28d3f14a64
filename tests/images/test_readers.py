"""Contract of all readers, tested with the same ten pictures in every supported layout.

Modules: images.annotations, images.arrays, images.names.
"""

import shutil
from pathlib import Path

import pytest

import featx
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, UnknownNameError
from featx.images.contents import digest
from featx.images.digests import identify_image
from featx.images.names import is_image_name, make_twin_key
from featx.images.readers import Listing, read_source
from featx.networks.features import resolve_network
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.specs.embedding import EmbeddingRequest, ResolvedEmbedding
from featx.study.study import Study
from tests.embeddings.embedders import embed_files
from tests.layouts import CLASSES, CODES, EMPTY, FILE_FORMS, FORMS, PIXELS, PNGS, Form, flat, on_disk

# Folders and archives


# Files of the pictures and their labels


# Arrays


every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_file_form = pytest.mark.parametrize("form", FILE_FORMS.values(), ids=FILE_FORMS)
every_reader = pytest.mark.parametrize("name", READERS.names())


def pictures_of(listing: Listing) -> list[int]:
    """Return the number of the picture that each row of a listing leads to."""
    arrays = PIXELS.transpose(0, 3, 1, 2)
    row_by_digest = {
        digest(content): row for contents in (PNGS, PIXELS, arrays) for row, content in enumerate(contents)
    }
    return [row_by_digest[identify_image(uri).digest] for uri in listing.manifest.uris]


def test_every_reader_is_covered_by_a_form() -> None:
    # Images without labels have no column to compare: tests/images/test_public_layouts.py. A table of pixels holds
    # square pictures only, which these are not: tests/images/test_tables_of_images.py.
    assert {form.reader for form in FORMS.values()} | {"images", "pixels"} == set(READERS.names())


@every_form
def test_the_expected_reader_recognises_a_layout_and_is_deterministic(form: Form, tmp_path: Path) -> None:
    data = form.recognised(tmp_path)
    assert data.reader_name == form.reader
    first, second = (read_source(data, Path("/elsewhere")) for _ in range(2))
    assert first.manifest.ids.tolist() == second.manifest.ids.tolist()
    assert first.manifest.uris.tolist() == second.manifest.uris.tolist()
    assert first.manifest.labels.equals(second.manifest.labels)
    assert first.states.tolist() == second.states.tolist()
    assert (
        (first.known, first.ignored, first.warnings)
        == (second.known, second.ignored, second.warnings)
        == ({}, second.ignored, ())
    )


@every_form
def test_each_row_has_a_unique_id_one_picture_and_its_labels(form: Form, tmp_path: Path) -> None:
    listing = read_source(form.recognised(tmp_path), Path())
    manifest = listing.manifest
    assert len(set(manifest.ids)) == len(manifest) == 10
    assert all(isinstance(text, str) for text in [*manifest.ids, *manifest.uris])
    assert set(manifest.digests) == {""}
    assert manifest.labels.index.tolist() == manifest.ids.tolist()
    assert list(manifest.labels.columns) == list(form.columns)
    pictures = pictures_of(listing)
    assert sorted(pictures) == list(range(10))
    labels = manifest.labels[form.columns[0]].tolist()
    assert labels in ([CLASSES[row] for row in pictures], [CODES[row] for row in pictures])
    if "split" in form.columns:
        assert set(manifest.labels["split"]) > {"train"}


@every_form
def test_ids_do_not_depend_on_where_the_source_lies(form: Form, tmp_path: Path) -> None:
    ids, other_ids = (
        read_source(form.recognised(tmp_path / name), Path()).manifest.ids.tolist() for name in ("a", "b/c")
    )
    assert ids == other_ids
    assert not [name for name in ids if str(tmp_path) in name]


@every_form
def test_every_image_has_a_state(form: Form, tmp_path: Path) -> None:
    listing = read_source(form.recognised(tmp_path), Path())
    assert None not in listing.states.tolist()


@every_file_form
def test_listing_opens_no_image(form: Form, tmp_path: Path) -> None:
    listing = read_source(form.recognised(tmp_path / "whole"), Path())
    data = form.recognised(tmp_path / "empty", EMPTY)
    empty_listing = read_source(data, Path())
    assert empty_listing.manifest.ids.tolist() == listing.manifest.ids.tolist()
    assert empty_listing.manifest.labels.equals(listing.manifest.labels)
    assert [identify_image(uri).reason for uri in empty_listing.manifest.uris] == ["is empty"] * 10


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Vectors of the ten pictures, computed without readers and cache."""
    folder = on_disk(tmp_path_factory.mktemp("expected"), flat(PNGS))
    request = EmbeddingRequest(backbone="toy", weights="none")
    resolution = resolve_network([request])
    embedding = ResolvedEmbedding(request=request, spec=resolution.specs[0], n_features=resolution.n_features[0])
    vectors = embed_files([str(folder / f"{number}.png") for number in range(10)], [embedding], "cpu")
    assert len(set(map(bytes, vectors.columns[embedding.spec.fingerprint()]))) == 10
    return [row.tobytes() for row in vectors.columns[embedding.spec.fingerprint()]]


@every_form
def test_a_picture_has_the_same_vector_in_every_layout(form: Form, home: Path, expected: list[bytes]) -> None:
    (home / "data").mkdir()
    source = form.make(home / "data", PNGS)
    labels = form.pattern if form.labels is None else home / "data" / form.labels
    featx.init(source.relative_to(home), labels=labels, target=form.columns[0])
    recipe = home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))

    extraction = featx.extract()

    assert (extraction.n_embedded, extraction.failures) == (10, [])
    study = Study.open(None)
    rows = read_embeddings(study, study.manifest.ids, locked_embeddings(study))
    pictures = pictures_of(read_source(study.recipe.data, study.recipe.folder))
    assert [row.tobytes() for row in rows.x] == [expected[picture] for picture in pictures]


@every_form
def test_a_missing_or_empty_source_is_an_error(form: Form, tmp_path: Path) -> None:
    data = form.recognised(tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(DataError, match=r"does not exist|there is no such file"):
        read_source(data, Path())
    (tmp_path / "source").mkdir()
    with pytest.raises(DataError, match=r"no usable images in|no images in|does not exist|there is no such file"):
        read_source(data, Path())


@every_reader
def test_an_empty_folder_is_not_recognised(name: str, tmp_path: Path) -> None:
    assert READERS.get(name)().recognise(str(tmp_path), None) is None


@every_reader
def test_a_missing_place_is_not_recognised(name: str, tmp_path: Path) -> None:
    assert READERS.get(name)().recognise(str(tmp_path / "gone"), None) is None
    assert READERS.get(name)().recognise(str(tmp_path / "gone.zip"), None) is None


def test_an_unknown_reader_is_an_error(tmp_path: Path) -> None:
    data = ReaderSpec.model_construct(source=str(tmp_path), labels=None, reader="foldr")
    with pytest.raises(UnknownNameError, match="no reader is called 'foldr'; did you mean 'folder'"):
        read_source(data, Path())


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.b.jpeg", "a/b c.TIFF", "ä.webp"])
def test_images_are_recognised_by_their_suffix(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "png", ".png", "a/.b.png", "a.png.part", "a", "1.0"])
def test_other_files_and_hidden_ones_are_not_images(name: str) -> None:
    assert not is_image_name(name)


@pytest.mark.parametrize("folder", ["JPEGImages", "images", "xmls", "json", "targets"])
def test_generic_folders_do_not_tell_an_image_from_its_annotations(folder: str) -> None:
    assert make_twin_key(f"train/{folder}/1.jpg") == make_twin_key("train/annotations/1_exp.npy", "1") == "train/1"
