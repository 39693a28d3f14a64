"""The page of results is written from the folders of runs: means, intervals, origin, and what has not run yet."""

from pathlib import Path

import pytest

from featx.specs.recipe import load_recipe
from featx.workflow.run import stages
from tests.recipes import toy_heads, toy_recipe
from tests.results import measured_figures, neighbour_bound
from tests.results.__main__ import expected_text, main
from tests.results.measured_figures import read_protocol
from tests.results.neighbour_bound import NeighbourBound
from tests.results.protocols import PROTOCOLS, ROOT, Protocol, PublishedFigure
from tests.results.results_page import results_page


@pytest.fixture
def protocol(toy_home: Path, monkeypatch: pytest.MonkeyPatch) -> Protocol:
    """Return a protocol of a toy recipe with two outer splits."""
    monkeypatch.setattr(measured_figures, "ROOT", toy_home)
    (toy_home / "pipelines").mkdir()
    split = {"test": 0.2, "val": 0, "repeats": 2}
    (toy_home / "pipelines" / "toy.toml").write_text(
        toy_recipe(data={"source": "../images"}, split=split, head=toy_heads("logreg"))
    )
    published = (PublishedFigure("A study", 0.5, 0.1, "logreg"), PublishedFigure("Another one", 0.25))
    monkeypatch.setattr(neighbour_bound, "ROOT", toy_home)
    return Protocol("toy", "", "Toy images", 0.1, published, has_neighbours=True)


def test_figures_come_from_the_folders_of_runs(protocol: Protocol) -> None:
    assert read_protocol(protocol) is None
    recipe = load_recipe("pipelines/toy.toml")
    list(stages(recipe))
    assert read_protocol(protocol) is None, "the test parts were not opened"
    summary = list(stages(recipe, final=True))[-1][1].targets[0]
    figures = read_protocol(protocol)
    assert figures is not None
    assert (figures.n_splits, figures.n_planned) == (2, 2)
    (accuracy,) = [x for x in figures.figures if (x.run, x.score) == ("logreg", "accuracy")]
    assert accuracy.value == summary.rows[1].means["accuracy"]
    assert figures.bound is not None
    assert figures.bound.n_classes == 2
    page = results_page({PROTOCOLS[0]: figures})
    assert "2 of 2 splits" in page
    assert f"the nearest neighbour of {figures.bound.disagreement:.1%} of the {figures.bound.n_images} images" in page
    assert f"| accuracy | **featx, chosen** | {accuracy.value:.4f} ± {accuracy.sd:.4f} |" in page
    assert "difference" not in page, "the published run has another name"
    assert results_page({}, page) == page, "sections stay on a machine without the runs"
    altered_page = page.replace("2 of 2 splits", "3 of 3 splits")
    assert results_page({PROTOCOLS[0]: figures}, altered_page) == page, "sections with runs are written anew"


def test_protocols_that_have_not_run_are_listed_with_their_command() -> None:
    page = results_page({})
    for protocol in PROTOCOLS:
        assert f"`{protocol.command}`\n\nNot run yet (about {protocol.hours:g} hours on 2 idle cores)." in page
        assert load_recipe(str(ROOT / protocol.recipe)).name.startswith(protocol.name)
    assert expected_text(list(PROTOCOLS[:2])).endswith(f"{PROTOCOLS[0].hours + PROTOCOLS[1].hours:g} h in all")
    with pytest.raises(SystemExit, match="no protocol is called 'mnist'"):
        main(["mnist"])


def test_the_bound_is_that_of_cover_and_hart() -> None:
    assert NeighbourBound(1000, 4, 0.0).max_accuracy == 1.0
    # Labels at random: neighbours of one of four equally frequent classes differ in three of four cases.
    assert NeighbourBound(1000, 4, 0.75).max_accuracy == pytest.approx(0.25)
    # Two classes with an error e of the best classifier: neighbours differ with probability 2 e (1 - e).
    assert NeighbourBound(1000, 2, 2 * 0.1 * 0.9).max_accuracy == pytest.approx(0.9)
