"""Reference pages in docs/ equal those that `tests.reference` builds from the code."""

import pytest

from tests.reference import DOCS, PAGES, SECTIONS, attribute_texts


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_equals_the_generated_one(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run 'python -m tests.reference'"


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_of_a_recipe_is_described(title: str) -> None:
    spec = SECTIONS[title]
    assert {name for name in spec.model_fields if not attribute_texts(spec).get(name)} == set()
