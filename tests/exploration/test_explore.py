"""Exploration of recipes and bare sources, from files to tables.

Modules: exploration.analyses, exploration.analysis, exploration.explored_images, exploration.image_loading,
exploration.recognised_files.
"""

from pathlib import Path

import pytest

import featx
from featx.errors import DataError
from featx.exploration.explore import Exploration, explore
from featx.exploration.image_loading import CHANGED_REASON, MISSING_REASON
from featx.exploration.labelled_vectors import NO_EMBEDDING
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, TOY_RECIPE, toy_recipe


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study whose images are extracted."""
    home = tmp_path_factory.mktemp("extracted")
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE)
    featx.extract(home / "featx.toml")
    return home


@pytest.fixture(scope="module")
def explored(extracted: Path) -> Exploration:
    return explore(recipe=extracted / "featx.toml")


def sealed_ids(exploration: Exploration) -> set[str]:
    images = exploration.images
    return set(images.ids[images.parts == "test"])


def test_a_bare_source_is_explored_without_a_recipe(home: Path) -> None:
    make_images(home / "images", n_each=10)
    exploration = explore("images")
    images = exploration.images
    assert not (home / "featx.toml").exists()
    assert len(images) == 20
    assert list(images.truths) == ["class"]
    assert set(images.parts) == {"train", "val", "test"}
    assert exploration.results["recognition"].facts["n_found"] == 20
    assert exploration.notes[:1] == ["nothing was extracted yet; analyses of embeddings are made after 'featx extract'"]


def test_labels_of_test_images_are_sealed_before_and_after_extraction(toy_home: Path, explored: Exploration) -> None:
    for exploration in (explore(), explored):
        labels = exploration.images.label_texts("class")
        unlabelled = set(labels.index[labels.isna()])
        assert unlabelled == sealed_ids(exploration) != set()


def test_an_extracted_study_has_vectors_and_no_runs_yet(explored: Exploration) -> None:
    images = explored.images
    assert images.embedding is not None
    assert images.embedding.ids.tolist() == images.ids.tolist()
    assert images.embedding_name.startswith("toy")
    assert images.runs("class") == []
    assert images.notes == ()


def test_a_sample_keeps_rows_of_labels_and_parts_together(extracted: Path, explored: Exploration) -> None:
    all_images = explored.images
    images = explore(recipe=extracted / "featx.toml", max_images=10).images
    assert (len(images), images.n_found) == (10, 48)
    rows = all_images.rows(images.ids)
    assert images.parts.tolist() == all_images.parts[rows].tolist()
    assert images.label_texts("class").tolist() == all_images.label_texts("class").iloc[rows].tolist()
    assert images.notes == ("a sample of 10 of 48 images was explored",)


def test_a_changed_recipe_is_explored_without_embeddings(toy_home: Path, extracted: Path) -> None:
    text = (extracted / "featx.toml").read_text()
    changed_recipe = extracted / "changed" / "other.toml"
    changed_recipe.parent.mkdir()
    changed_recipe.write_text(text.replace('source = "images"', 'source = "../images"'))
    featx.extract(changed_recipe)
    changed_recipe.write_text(changed_recipe.read_text().replace("val = 0.25", "val = 0.5"))
    images = explore(recipe=changed_recipe).images
    assert images.embedding is None
    assert images.notes[0].startswith("analyses of embeddings are left out: [split] changed after the last extraction")


def test_images_that_cannot_be_read_are_listed(home: Path) -> None:
    make_images(home / "images", n_each=10)
    (home / "images" / "dark" / "000.png").write_bytes(b"")
    exploration = explore("images")
    table = exploration.tables["unreadable"]
    assert table.to_numpy().tolist() == [["dark/000.png", "unreadable: is empty"]]
    assert exploration.results["recognition"].facts["n_found"] == 20
    assert exploration.highlights[0].text.startswith("1 image cannot be used, first 'dark/000.png'")


def test_a_sample_of_a_study_without_embeddings_names_the_next_step(home: Path) -> None:
    make_images(home / "images", n_each=10)
    Path("featx.toml").write_text(toy_recipe(embedding=None, head=None, finetune=[{"backbone": "toy"}]))
    featx.extract()
    assert explore(max_images=12).results["outliers"].notes == (NO_EMBEDDING,)


def test_a_source_beside_the_recipe_of_another_is_an_error(toy_home: Path) -> None:
    make_images(toy_home / "others", n_each=10)
    with pytest.raises(DataError, match="recipe 'featx' reads 'images', found 'others'; name a recipe"):
        explore("others")
    assert len(explore("others", recipe="other.toml").images) == 20


def test_all_tables_are_written(explored: Exploration, tmp_path: Path) -> None:
    paths = explored.write_tables(tmp_path / "tables")
    assert {path.name for path in paths} == {f"{name}{end}" for name in explored.tables for end in (".parquet", ".csv")}
    assert all(path.is_file() for path in paths)


def test_no_two_analyses_write_tables_of_one_name(explored: Exploration) -> None:
    names = [name for result in explored.results.values() for name in result.tables]
    assert len(names) == len(set(names)) > 0


def test_images_that_changed_since_the_extraction_are_named(toy_home: Path) -> None:
    featx.extract()
    (toy_home / "images" / "dark" / "000.png").unlink()
    (toy_home / "images" / "dark" / "001.png").write_bytes(b"another content")
    exploration = explore()
    assert exploration.images.unreadable == {"dark/000.png": MISSING_REASON, "dark/001.png": CHANGED_REASON}
    assert exploration.highlights[0].text == f"2 images cannot be used, first 'dark/000.png': {MISSING_REASON}"
    assert len(exploration.images) == 48


def test_one_class_and_no_labels_are_explored(home: Path) -> None:
    make_images(home / "images", ("dark",), n_each=12)
    exploration = explore("images")
    assert exploration.images.truths == {}
    assert "there are no labels, so that nothing is counted by class" in exploration.notes
    (home / "images" / "labels.csv").write_text("path,y\n" + "".join(f"dark/{n:03}.png,a\n" for n in range(12)))
    recipe = toy_recipe(data=LABEL_TABLE, targets={"y": {"column": "y"}})
    (home / "featx.toml").write_text(recipe)
    texts = [highlight.text for highlight in explore().highlights]
    assert any("one class" in text or "found 1" in text for text in texts), texts
