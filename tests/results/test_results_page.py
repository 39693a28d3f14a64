"""The page of results is written from the folders of runs: means, intervals, origin, and what has not run yet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featx.files.seals import read_sealed
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from featx.workflow.outer_splits import SPLIT_SCORES, SplitRecord
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
    write_recipe("toy")
    published = (PublishedFigure("A study", 0.5, 0.1, "logreg"), PublishedFigure("Another one", 0.25))
    monkeypatch.setattr(neighbour_bound, "ROOT", toy_home)
    return Protocol("toy", "", "Toy images", 0.1, published, has_neighbours=True)


def write_recipe(name: str, **split: float) -> None:
    """Write a toy recipe with two outer splits into the folder of recipes."""
    recipe = toy_recipe(
        data={"source": "../images"}, split={"test": 0.2, "val": 0, "repeats": 2, **split}, head=toy_heads("logreg")
    )
    (Path("pipelines") / f"{name}.toml").write_text(recipe)


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


def test_chosen_runs_of_another_protocol_are_shown_for_the_same_test_parts(protocol: Protocol) -> None:
    write_recipe("other", val=0.2, repeats=3)
    compared_protocol = replace(protocol, same_tests_as="other")
    list(stages(load_recipe("pipelines/toy.toml"), final=True))
    alone = read_protocol(compared_protocol)
    assert alone is not None
    assert "other" not in {figure.run for figure in alone.figures}, "the other protocol has not run"
    *_, (_, result) = stages(load_recipe("pipelines/other.toml"), final=True)
    measured = read_protocol(compared_protocol)
    assert measured is not None
    (accuracy,) = [x for x in measured.figures if (x.run, x.score) == ("other", "accuracy")]
    splits = [Study.open(f"pipelines/other.toml#repeat-0{number}") for number in (0, 1)]
    records = [read_sealed(study.folder / SPLIT_SCORES, "", SplitRecord).targets[0] for study in splits]
    assert accuracy.value == np.mean([record.scores[record.chosen]["accuracy"] for record in records])
    assert result.targets[0].n_splits == 3, "the third split of the other protocol is left out"
    page = results_page({PROTOCOLS[0]: replace(measured, bound=None)})
    assert f"| accuracy | featx, other | {accuracy.value:.4f} ± " in page


def test_protocols_with_other_test_parts_are_not_compared(protocol: Protocol) -> None:
    for name, test in (("toy", 0.2), ("other", 0.3)):
        write_recipe(name, test=test)
        list(stages(load_recipe(f"pipelines/{name}.toml"), final=True))
    with pytest.raises(ValueError, match=r"toy\.toml and pipelines/other\.toml have different test parts"):
        read_protocol(replace(protocol, same_tests_as="other"))


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
