"""A run answers for embeddings and for images as it did when it was made."""

import json
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from featx import ensemble, extract, fit, load, predict
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import ArtifactError, DataError, IncompleteError, RecipeError
from featx.files.atomic import sha256_of, write_json
from featx.files.seals import sealed
from featx.heads.head_definition import HeadTask
from featx.predictors.models import EnsembleModel, HeadModel, describe
from featx.registry import HEADS, VOTES
from featx.specs.head import HeadSpec
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.predictions import Predictions


@pytest.fixture
def head(toy_home: Path) -> Path:
    """The folder of one head."""
    extract()
    return Path(fit(heads=["logreg"], trials=1)[0].path)


@pytest.fixture
def fitted(head: Path) -> list[Path]:
    """The folders of two heads."""
    return [head, Path(fit(heads=["svm"], trials=1)[0].path)]


@pytest.fixture
def voted(fitted: list[Path]) -> Path:
    """The folder of a soft vote over them."""
    return Path(ensemble(methods=["soft"])[0].path)


def cached() -> Embeddings:
    study = Study.open(None)
    return read_embeddings(study, study.manifest.ids, locked_embeddings(study))


def noted(run: Path, part: str) -> Predictions:
    return next(one for one in Study.open(None).runs() if one.name == run.name).predictions.of(part)


@pytest.mark.parametrize("name", HEADS.names())
def test_every_loaded_head_answers_bit_by_bit_as_when_it_was_made(toy_home: Path, name: str) -> None:
    extract()
    HEADS.get(name)(HeadTask(24, 8, 2, 0))  # loads its library, so that the limit holds for it
    with threadpool_limits(1):  # many threads on 24 rows only wait for one another
        run = Path(fit(heads=[name], trials=1)[0].path)

    model = load(run)

    for part in ("val", "test"):
        then = noted(run, part)
        now = Predictions.of_part(part, then.ids, model.predict_proba(cached().take(then.ids).x), model.classes)
        assert now.proba.tobytes() == then.proba.tobytes()
    assert isinstance(model, HeadModel)
    assert model.predict(cached().take(then.ids).x).tolist() == [model.classes[code] for code in then.codes]


@pytest.mark.parametrize("method", [name for name in VOTES.names() if "classes" in VOTES.get(name).kinds])
def test_every_loaded_vote_answers_as_when_it_was_made(fitted: list[Path], method: str) -> None:
    run = Path(ensemble(methods=[method])[0].path)

    model = load(run)

    then = noted(run, "test")
    now = model.predict_proba(cached().take(then.ids).x)
    np.testing.assert_allclose(now, then.proba, rtol=0, atol=1e-12)
    assert isinstance(model, EnsembleModel)
    assert {member.name for member in model.members} <= {path.name for path in fitted}


@pytest.fixture
def weighted(toy_home: Path) -> list[Path]:
    """The folders of two heads that decide by class weights."""
    extract()
    specs = [HeadSpec(name=name, trials=1, folds=3, class_weight={"light": 1e4}) for name in ("logreg", "svm")]
    return [Path(one.path) for one in fit(heads=specs)]


@pytest.mark.parametrize("method", ["majority", "soft", "weighted", "greedy", "stacking"])
def test_a_decision_rule_is_the_same_wherever_a_class_is_named(weighted: list[Path], method: str) -> None:
    voted = Path(ensemble(methods=[method])[0].path)

    for run in (*weighted, voted):
        model, then = load(run), noted(run, "test")
        x = cached().take(then.ids).x
        expected = [model.classes[code] for code in then.codes]
        assert model.predict(x).tolist() == expected
        said = model.predict_images([Path("images") / name for name in then.ids], device="cpu")
        assert said.labels == expected
        assert [row["probability"] for row in said.rows("")] == [row[f"proba.{row['label']}"] for row in said.rows("")]
        if run != voted:
            assert model.header.decision is not None
            codes = joblib.load(run / "model.joblib").predict(x)
            assert [model.classes[code] for code in codes] == expected
    most_probable = noted(weighted[0], "test").proba.argmax(1)
    assert noted(weighted[0], "test").codes.tolist() != most_probable.tolist()


def test_images_are_answered_like_their_embeddings(voted: Path) -> None:
    model = load(voted)
    ids = cached().ids[[0, 30, 7]]

    said = model.predict_images([Path("images") / name for name in ids], device="cpu")

    np.testing.assert_allclose(said.proba, model.predict_proba(cached().take(ids).x), rtol=1e-4)
    assert said.images == [f"images/{name}" for name in ids]
    assert said.labels == model.predict(cached().take(ids).x).tolist()
    assert (said.classes, said.unreadable) == (("dark", "light"), {})


def test_answers_are_flat_records(head: Path) -> None:
    (row,) = load(head).predict_images(["images/light/000.png"]).rows("mine")

    assert list(row) == ["image", "run", "label", "probability", "proba.dark", "proba.light"]
    assert (row["image"], row["run"], row["label"]) == ("images/light/000.png", "mine", "light")
    assert row["probability"] == row["proba.light"] > 0.5
    assert json.loads(json.dumps(row)) == row


def test_predict_asks_every_finished_run_about_every_readable_image(voted: Path, fitted: list[Path]) -> None:
    Path("broken.png").write_text("no picture")

    said = predict(["broken.png", "images/dark/000.png"])

    assert set(said) == {voted.name, *(path.name for path in fitted)}
    for name, answers in said.items():
        assert answers.images == ["images/dark/000.png"]
        assert answers.unreadable == {"broken.png": "is not an image of a known format"}
        expected = load(Path("runs/featx") / name).predict_proba(cached().take(["dark/000.png"]).x)
        np.testing.assert_allclose(answers.proba, expected, rtol=1e-4)
    assert list(predict(["images/dark/000.png"], runs=["svm"])) == [fitted[1].name]


def test_images_of_which_none_can_be_read_give_no_answer(voted: Path, fitted: list[Path]) -> None:
    for run in (voted, *fitted):
        said = load(run).predict_images(["gone.png"])

        assert (said.labels, said.rows("mine"), said.proba.shape) == ([], [], (0, 2))
        assert said.unreadable == {"gone.png": "there is no such file"}


def test_several_embeddings_stand_side_by_side_in_the_order_that_the_header_says(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["max", "avgmax"]'))
    extract()
    wide = Path(fit(heads=["logreg"], trials=1)[0].path)
    narrow = Path(fit(heads=["logreg"], trials=1, embedding="toy/last/avgmax,weights=none")[0].path)
    both = load(ensemble(methods=["soft"])[0].path)

    x = cached().x[:5]

    assert [load(run).header.n_features for run in (wide, narrow)] == [24, 16]
    mean = np.mean([load(wide).predict_proba(x), load(narrow).predict_proba(x[:, 8:])], axis=0)
    order = np.hstack([x[:, :8], x[:, 8:]] if both.embeddings[0].n_features == 8 else [x[:, 8:], x[:, :8]])
    np.testing.assert_allclose(both.predict_proba(order), mean, rtol=1e-6)
    images = [f"images/{name}" for name in cached().ids[:5]]
    np.testing.assert_allclose(both.predict_images(images).proba, mean, rtol=1e-4)


def test_no_rows_have_no_answers(voted: Path, fitted: list[Path]) -> None:
    for run in (voted, *fitted):
        model = load(run)
        assert model.predict_proba(np.zeros((0, 8))).shape == (0, 2)
        assert model.predict(np.zeros((0, 8))).tolist() == []


def test_what_is_no_path_of_an_image_is_refused(head: Path) -> None:
    with pytest.raises(DataError, match="expected paths of images, found int; use 'featx.ImageEmbedder' for arrays"):
        load(head).predict_images([1])  # type: ignore[list-item]


def test_features_of_another_width_are_refused(head: Path) -> None:
    model = load(head)

    for shape in [(2, 7), (8,), (0, 9), (1, 2, 4)]:
        with pytest.raises(
            ArtifactError, match=r"expects \(n, 8\) features from toy/last/avg,weights=none, found shape \("
        ):
            model.predict_proba(np.zeros(shape))


def test_a_vote_whose_member_is_gone_names_it(voted: Path, fitted: list[Path]) -> None:
    shutil.rmtree(fitted[0])

    with pytest.raises(ArtifactError, match=f"votes over '{fitted[0].name}', which is not beside it"):
        load(voted)


def test_a_vote_whose_member_was_made_again_asks_for_another_vote(voted: Path, fitted: list[Path]) -> None:
    shutil.rmtree(fitted[0])
    shutil.copytree(fitted[1], fitted[0])

    with pytest.raises(ArtifactError, match=f"member '{fitted[0].name}' .* was made again since; run 'featx ensemble'"):
        load(voted)


def test_a_changed_ballot_is_not_counted(voted: Path) -> None:
    body = json.loads((voted / "ensemble.json").read_text())
    (voted / "ensemble.json").write_text(json.dumps(body | {"weights": [1, 0]}))

    with pytest.raises(ArtifactError, match=r"ensemble\.json does not match its header"):
        load(voted)


ODD_BODIES: dict[str, tuple[Any, str]] = {
    "traversal": (lambda body: body | {"members": {"../x": "0"}}, r"names the member '\.\./x', expected the name of a"),
    "absolute": (lambda body: body | {"members": {"/etc": "0"}}, "names the member '/etc'"),
    "parent": (lambda body: body | {"members": {"..": "0"}}, r"names the member '\.\.'"),
    "no members": (lambda body: {"method": "soft"}, "members: Field required"),
    "list of members": (lambda body: body | {"members": ["a"]}, "members: .* valid dictionary"),
    "number": (lambda body: 3, "valid dictionary"),
    "list": (lambda body: [], "valid dictionary"),
    "another field": (lambda body: body | {"weights": [1, 0, 2]}, "does not combine its 2 members"),
    "weights of others": (
        lambda body: body | {"method": "convex", "weights": [1.0, 0.5, 2.0]},
        "does not combine its 2 members",
    ),
    "weights of no kind": (lambda body: body | {"method": "convex", "weights": "x"}, "does not combine its 2 members"),
}


@pytest.mark.parametrize("kind", ODD_BODIES)
def test_an_odd_ensemble_that_is_sealed_is_one_line(voted: Path, kind: str) -> None:
    change, message = ODD_BODIES[kind]
    write_json(voted / "ensemble.json", change(json.loads((voted / "ensemble.json").read_text())))
    header = json.loads((voted / "header.json").read_text())
    write_json(voted / "header.json", sealed(header | {"body_sha256": sha256_of(voted / "ensemble.json")}))
    with pytest.raises(ArtifactError, match=message) as error:
        load(voted)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", ["[" * 3000, '{"format": 1e400}', '{"format": Infinity}', "9" * 5000, "", "[]", "null"]
)
def test_an_odd_header_is_one_line(head: Path, content: str) -> None:
    (head / "header.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"header\.json") as error:
        load(head)
    assert len(str(error.value).splitlines()) == 1


def test_nothing_to_predict_or_to_predict_with_is_an_error(toy_home: Path) -> None:
    with pytest.raises(DataError, match="no images to predict; name one or more files"):
        predict([])
    extract()
    with pytest.raises(IncompleteError, match="has no finished run; run 'featx fit' or 'featx finetune' first"):
        predict(["images/dark/000.png"])


def test_a_run_and_a_recipe_describe_themselves(head: Path) -> None:
    run = describe(head)

    assert (run["kind"], run["classes"], run["n_features"]) == ("head", ["dark", "light"], 8)
    assert "golden" not in run
    assert describe("featx.toml")["split"]["test"] == 0.25
    with pytest.raises(RecipeError, match=r"no\.toml"):
        describe("no.toml")
    with pytest.raises(ArtifactError, match="nothing lies at nowhere"):
        describe("nowhere")


def test_an_answer_may_be_a_set_or_none_at_all(head: Path) -> None:
    said = load(head).predict_images(["images/light/000.png", "images/dark/000.png"])

    rows = said.abstaining(0.9999).rows("mine", coverage=0.8)

    assert [row["label"] for row in rows] == ["", ""]
    assert all(row["probability"] > 0.5 for row in rows)
    assert said.conformal is not None
    (threshold,) = said.conformal.at(0.8)
    for row, proba in zip(rows, said.proba, strict=True):
        assert row["set"] == ", ".join(name for name, p in zip(said.classes, proba, strict=True) if 1 - p <= threshold)
    with pytest.raises(DataError, match=r"coverage 0.7 is not kept with the model; expected 0.8, 0.9, 0.95, 0.99"):
        said.sets(0.7)
    with pytest.raises(DataError, match="intervals are for models of numbers that keep what they take; .* of classes"):
        said.intervals(0.8)
