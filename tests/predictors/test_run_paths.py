"""A run loads by every path of its folder: a link to it, and '.' inside it.

Modules: artifacts.header.
"""

import shutil
from pathlib import Path

import pytest

from featx import ensemble, extract, fit, load, predict
from featx.errors import ArtifactError

IMAGE = "images/light/000.png"


@pytest.fixture
def runs(toy_home: Path) -> list[Path]:
    """The folders of an ensemble of two heads, and of one of these."""
    extract()
    heads = [fit(heads=[name], trials=1)[0].path for name in ("logreg", "svm")]
    return [Path(ensemble(methods=["soft"])[0].path), Path(heads[0])]


def test_a_run_loads_through_a_link(runs: list[Path]) -> None:
    for run in runs:
        link = Path(f"current-{run.name}")
        link.symlink_to(run.absolute())

        linked = load(link).predict_images(IMAGE)

        assert linked.proba.tobytes() == load(run).predict_images(IMAGE).proba.tobytes()


def test_members_may_be_links(runs: list[Path]) -> None:
    ensemble_run, head = runs
    elsewhere = Path("elsewhere").absolute()
    shutil.move(head, elsewhere / head.name)
    head.symlink_to(elsewhere / head.name)

    assert load(ensemble_run).predict_images(IMAGE).labels == ["light"]


@pytest.mark.parametrize("path", [".", "", "header.json", "../{name}", "x/.."])
def test_a_run_loads_from_inside_its_folder(runs: list[Path], monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    for run in runs:
        (run / "x").mkdir()
        with monkeypatch.context() as patch:
            image = Path(IMAGE).absolute()
            patch.chdir(run)
            model = load(path.format(name=run.name))

            assert model.name == run.name
            assert model.predict_images(image).labels == ["light"]
            assert list(predict(".", image)) == [run.name]


def test_a_folder_without_a_run_is_refused(home: Path) -> None:
    for path in (".", "..", "/"):
        with pytest.raises(ArtifactError, match="has no header.json beside it; expected a run folder made by featx"):
            load(path)
