"""Sections of counts and of random samples."""

from featx.exploration.class_counts import count_images, sample_images
from featx.exploration.explore import Exploration
from featx.exploration.explored_images import ExploredImages
from featx.progress import no_progress
from featx.reports.exploration.count_sections import build_count_section, build_sample_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Gallery, Table
from tests.exploration.explored import make_explored

IDS = [f"{number}.png" for number in range(20)]


def explore_counts(images: ExploredImages) -> Exploration:
    return Exploration(
        images, {"counts": count_images(images, no_progress), "samples": sample_images(images, no_progress)}
    )


def tables(exploration: Exploration) -> dict[str, Table]:
    """Return the tables of all sections of counts, by name."""
    section = build_count_section(exploration, Thumbnails(exploration.images))
    components = [component for part in [section, *section.sections] for component in part.components]
    return {component.name: component for component in components if isinstance(component, Table)}


def test_a_class_may_be_called_group() -> None:
    images = make_explored(IDS, ["group", "two_people"] * 10, groups={"site": ["a"] * 14 + ["b"] * 6})
    table = tables(explore_counts(images))["class_by_group class by site"]
    assert [column.name for column in table.columns] == ["group", "group", "two_people"]
    assert table.rows == [["a", 7, 7], ["b", 3, 3]]


def test_the_number_of_sampled_classes_is_stated() -> None:
    for n_classes, text in ((4, "each class of class: "), (60, "each of the first 50 of 60 classes of class: ")):
        ids = [f"{number}.png" for number in range(60)]
        exploration = explore_counts(make_explored(ids, [f"c{number % n_classes}" for number in range(60)]))
        (gallery,) = build_sample_section(exploration, Thumbnails(exploration.images)).components
        assert isinstance(gallery, Gallery)
        assert gallery.caption.startswith(f"Random images of {text}")
