"""A loaded run predicts embeddings and images as it did when it was saved.

Modules: predictors.description, predictors.loading, predictors.prediction.
"""

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
from featx.files.atomic import file_sha256, write_json
from featx.files.seals import add_seal
from featx.heads.head_definition import HeadTask
from featx.predictors.description import describe
from featx.predictors.models import EnsembleModel, HeadModel
from featx.registry import ENSEMBLE_METHODS, HEADS
from featx.specs.head import HeadSpec
from featx.specs.recipe import load_recipe
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
def soft_ensemble(fitted: list[Path]) -> Path:
    """The folder of a soft ensemble of the two heads."""
    return Path(ensemble(methods=["soft"])[0].path)


def cached() -> Embeddings:
    study = Study.open(None)
    return read_embeddings(study, study.manifest.ids, locked_embeddings(study))


def saved_predictions(run: Path, part: str) -> Predictions:
    (run_folder,) = (folder for folder in Study.open(None).runs() if folder.name == run.name)
    return run_folder.predictions.of(part)


@pytest.mark.parametrize("name", HEADS.names())
def test_a_loaded_head_predicts_exactly_as_when_saved(toy_home: Path, name: str) -> None:
    extract()
    HEADS.get(name)(HeadTask(24, 8, 2, 0))  # loads its library, so that the limit holds for it
    with threadpool_limits(1):  # many threads on 24 rows only wait for one another
        run = Path(fit(heads=[name], trials=1)[0].path)

    model = load(run)

    for part in ("val", "test"):
        saved_rows = saved_predictions(run, part)
        loaded_rows = Predictions.of_part(
            part, saved_rows.ids, model.predict_proba(cached().take(saved_rows.ids).x), model.classes
        )
        assert loaded_rows.proba.tobytes() == saved_rows.proba.tobytes()
    assert isinstance(model, HeadModel)
    assert model.predict(cached().take(saved_rows.ids).x).tolist() == [model.classes[code] for code in saved_rows.codes]


@pytest.mark.parametrize(
    "method", [name for name in ENSEMBLE_METHODS.names() if "classes" in ENSEMBLE_METHODS.get(name).kinds]
)
def test_a_loaded_ensemble_predicts_as_when_saved(fitted: list[Path], method: str) -> None:
    run = Path(ensemble(methods=[method])[0].path)

    model = load(run)

    saved_rows = saved_predictions(run, "test")
    proba = model.predict_proba(cached().take(saved_rows.ids).x)
    np.testing.assert_allclose(proba, saved_rows.proba, rtol=0, atol=1e-12)
    assert isinstance(model, EnsembleModel)
    assert {member.name for member in model.members} <= {path.name for path in fitted}


@pytest.fixture
def weighted(toy_home: Path) -> list[Path]:
    """The folders of two heads with class weights in their decision rules."""
    extract()
    specs = [HeadSpec(name=name, trials=1, folds=3, class_weight={"light": 1e4}) for name in ("logreg", "svm")]
    return [Path(result.path) for result in fit(heads=specs)]


@pytest.mark.parametrize("method", ["majority", "soft", "weighted", "greedy", "stacking"])
def test_all_outputs_use_the_same_decision_rule(weighted: list[Path], method: str) -> None:
    ensemble_run = Path(ensemble(methods=[method])[0].path)

    for run in (*weighted, ensemble_run):
        model, saved_rows = load(run), saved_predictions(run, "test")
        x = cached().take(saved_rows.ids).x
        expected = [model.classes[code] for code in saved_rows.codes]
        assert model.predict(x).tolist() == expected
        prediction = model.predict_images([Path("images") / name for name in saved_rows.ids], device="cpu")
        assert prediction.labels == expected
        assert [row["probability"] for row in prediction.rows("")] == [
            row[f"proba.{row['label']}"] for row in prediction.rows("")
        ]
        if run != ensemble_run:
            assert model.header.decision is not None
            codes = joblib.load(run / "model.joblib").predict(x)
            assert [model.classes[code] for code in codes] == expected
    most_probable = saved_predictions(weighted[0], "test").proba.argmax(1)
    assert saved_predictions(weighted[0], "test").codes.tolist() != most_probable.tolist()


def test_images_get_the_predictions_of_their_embeddings(soft_ensemble: Path) -> None:
    model = load(soft_ensemble)
    ids = cached().ids[[0, 30, 7]]

    prediction = model.predict_images([Path("images") / name for name in ids], device="cpu")

    np.testing.assert_allclose(prediction.proba, model.predict_proba(cached().take(ids).x), rtol=1e-4)
    assert prediction.images == [f"images/{name}" for name in ids]
    assert prediction.labels == model.predict(cached().take(ids).x).tolist()
    assert (prediction.classes, prediction.unreadable) == (("dark", "light"), {})


def test_predictions_are_flat_records(head: Path) -> None:
    (row,) = load(head).predict_images(["images/light/000.png"]).rows("mine")

    assert list(row) == ["image", "run", "label", "probability", "proba.dark", "proba.light"]
    assert (row["image"], row["run"], row["label"]) == ("images/light/000.png", "mine", "light")
    assert row["probability"] == row["proba.light"] > 0.5
    assert json.loads(json.dumps(row)) == row


def test_predict_uses_all_finished_runs_and_readable_images(soft_ensemble: Path, fitted: list[Path]) -> None:
    Path("broken.png").write_text("no picture")

    predictions = predict(["broken.png", "images/dark/000.png"])

    assert set(predictions) == {soft_ensemble.name, *(path.name for path in fitted)}
    for name, prediction in predictions.items():
        assert prediction.images == ["images/dark/000.png"]
        assert prediction.unreadable == {"broken.png": "is not an image of a known format"}
        expected = load(Path("runs/featx") / name).predict_proba(cached().take(["dark/000.png"]).x)
        np.testing.assert_allclose(prediction.proba, expected, rtol=1e-4)
    assert list(predict(["images/dark/000.png"], runs=["svm"])) == [fitted[1].name]


def test_unreadable_images_get_no_prediction(soft_ensemble: Path, fitted: list[Path]) -> None:
    for run in (soft_ensemble, *fitted):
        with pytest.warns(
            UserWarning, match="^1 of 2 images cannot be read and have no prediction, first 'gone.png': "
        ):
            mixed_prediction = load(run).predict_images(["gone.png", "images/dark/000.png"])
        assert mixed_prediction.images == ["images/dark/000.png"]
        assert len(mixed_prediction.labels) == 1
        with pytest.warns(UserWarning, match="^1 of 1 images cannot be read"):
            prediction = load(run).predict_images(["gone.png"])

        assert (prediction.labels, prediction.rows("mine"), prediction.proba.shape) == ([], [], (0, 2))
        assert prediction.unreadable == {"gone.png": "there is no such file"}


def test_embeddings_are_concatenated_in_the_order_of_the_header(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["max", "avgmax"]'))
    extract()
    wide_run = Path(fit(heads=["logreg"], trials=1)[0].path)
    narrow_run = Path(fit(heads=["logreg"], trials=1, embedding="toy/last/avgmax,weights=none")[0].path)
    ensemble_model = load(ensemble(methods=["soft"])[0].path)

    x = cached().x[:5]

    assert [load(run).header.n_features for run in (wide_run, narrow_run)] == [24, 16]
    mean = np.mean([load(wide_run).predict_proba(x), load(narrow_run).predict_proba(x[:, 8:])], axis=0)
    order = np.hstack([x[:, :8], x[:, 8:]] if ensemble_model.embeddings[0].n_features == 8 else [x[:, 8:], x[:, :8]])
    np.testing.assert_allclose(ensemble_model.predict_proba(order), mean, rtol=1e-6)
    images = [f"images/{name}" for name in cached().ids[:5]]
    np.testing.assert_allclose(ensemble_model.predict_images(images).proba, mean, rtol=1e-4)


def test_no_rows_give_empty_predictions(soft_ensemble: Path, fitted: list[Path]) -> None:
    for run in (soft_ensemble, *fitted):
        model = load(run)
        assert model.predict_proba(np.zeros((0, 8))).shape == (0, 2)
        assert model.predict(np.zeros((0, 8))).tolist() == []


def test_an_image_that_is_no_path_is_refused(head: Path) -> None:
    with pytest.raises(DataError, match="expected paths of images, found int; use 'featx.ImageEmbedder' for arrays"):
        load(head).predict_images([1])  # type: ignore[list-item]


def test_features_of_another_width_are_refused(head: Path) -> None:
    model = load(head)

    for shape in [(2, 7), (8,), (0, 9), (1, 2, 4)]:
        with pytest.raises(
            ArtifactError, match=r"expects \(n, 8\) features from toy/last/avg,weights=none, found shape \("
        ):
            model.predict_proba(np.zeros(shape))


def test_an_ensemble_names_its_missing_member(soft_ensemble: Path, fitted: list[Path]) -> None:
    shutil.rmtree(fitted[0])

    with pytest.raises(ArtifactError, match=f"member '{fitted[0].name}' of .* is not beside it"):
        load(soft_ensemble)


def test_an_ensemble_with_a_changed_member_is_refused(soft_ensemble: Path, fitted: list[Path]) -> None:
    shutil.rmtree(fitted[0])
    shutil.copytree(fitted[1], fitted[0])

    with pytest.raises(ArtifactError, match=f"member '{fitted[0].name}' .* has changed since; run 'featx ensemble'"):
        load(soft_ensemble)


def test_a_changed_ensemble_body_is_refused(soft_ensemble: Path) -> None:
    body = json.loads((soft_ensemble / "ensemble.json").read_text())
    (soft_ensemble / "ensemble.json").write_text(json.dumps(body | {"weights": [1, 0]}))

    with pytest.raises(ArtifactError, match=r"ensemble\.json does not match its header"):
        load(soft_ensemble)


INVALID_BODIES: dict[str, tuple[Any, str]] = {
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


@pytest.mark.parametrize("kind", INVALID_BODIES)
def test_an_invalid_ensemble_body_is_a_one_line_error(soft_ensemble: Path, kind: str) -> None:
    change, message = INVALID_BODIES[kind]
    write_json(soft_ensemble / "ensemble.json", change(json.loads((soft_ensemble / "ensemble.json").read_text())))
    header = json.loads((soft_ensemble / "header.json").read_text())
    write_json(
        soft_ensemble / "header.json", add_seal(header | {"body_sha256": file_sha256(soft_ensemble / "ensemble.json")})
    )
    with pytest.raises(ArtifactError, match=message) as error:
        load(soft_ensemble)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", ["[" * 3000, '{"format": 1e400}', '{"format": Infinity}', "9" * 5000, "", "[]", "null"]
)
def test_an_invalid_header_is_a_one_line_error(head: Path, content: str) -> None:
    (head / "header.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"header\.json") as error:
        load(head)
    assert len(str(error.value).splitlines()) == 1


def test_predict_needs_images_and_finished_runs(toy_home: Path) -> None:
    with pytest.raises(DataError, match="found no images to predict; name one or more images"):
        predict([])
    extract()
    with pytest.raises(IncompleteError, match="has no finished run; run 'featx fit' or 'featx finetune' first"):
        predict(["images/dark/000.png"])


def test_predict_takes_images_alone_or_after_a_recipe_or_a_run(soft_ensemble: Path, fitted: list[Path]) -> None:
    image = "images/dark/000.png"
    expected = predict(image)

    for predictions in (predict("featx.toml", image), predict(load_recipe(), [Path(image)]), predict([image])):
        assert {name: prediction.proba.tolist() for name, prediction in predictions.items()} == {
            name: prediction.proba.tolist() for name, prediction in expected.items()
        }
    Path("featx.toml").unlink()
    for folder in (soft_ensemble, fitted[0]):
        for predictions in (predict(folder, image), predict(image, runs=[folder])):
            assert list(predictions) == [folder.name]
            np.testing.assert_allclose(predictions[folder.name].proba, expected[folder.name].proba, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("featx.toml",), r"found recipe 'featx\.toml' and no images to predict; expected predict\(recipe, images\)"),
        (("a.png", "b.png"), r"found 'a\.png' as the first of two arguments; expected predict\(recipe, images\) with"),
        ((["a.png"], "featx.toml"), r"found \['a\.png'\] as the first of two arguments; expected predict\(recipe"),
    ],
)
def test_predict_says_what_its_arguments_may_be(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        predict(*arguments)


def test_predict_takes_one_recipe() -> None:
    with pytest.raises(DataError, match="found two recipes"):
        predict("featx.toml", "a.png", recipe="other.toml")


def test_describe_returns_the_content_of_runs_and_recipes(head: Path) -> None:
    run = describe(head)

    assert (run["kind"], run["classes"], run["n_features"]) == ("head", ["dark", "light"], 8)
    assert "golden" not in run
    assert describe("featx.toml")["split"]["test"] == 0.25
    with pytest.raises(RecipeError, match=r"no\.toml"):
        describe("no.toml")
    with pytest.raises(ArtifactError, match="there is no nowhere"):
        describe("nowhere")


def test_predictions_may_be_sets_or_abstentions(head: Path) -> None:
    prediction = load(head).predict_images(["images/light/000.png", "images/dark/000.png"])

    rows = prediction.with_abstention(0.9999).rows("mine", coverage=0.8)

    assert [row["label"] for row in rows] == ["", ""]
    assert all(row["probability"] > 0.5 for row in rows)
    assert prediction.conformal is not None
    (threshold,) = prediction.conformal.at(0.8)
    for row, proba in zip(rows, prediction.proba, strict=True):
        assert row["set"] == ", ".join(
            name for name, p in zip(prediction.classes, proba, strict=True) if 1 - p <= threshold
        )
    with pytest.raises(DataError, match=r"the model has no thresholds for coverage 0.7; expected 0.8, 0.9, 0.95, 0.99"):
        prediction.sets(0.7)
    with pytest.raises(
        DataError, match="prediction intervals are available for numbers only, this model predicts classes"
    ):
        prediction.intervals(0.8)
