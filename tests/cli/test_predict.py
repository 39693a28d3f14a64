"""``featx predict`` for all kinds of places, its files and its exit codes.

Modules: cli.prediction_command, cli.prediction_table, predictors.prediction_scores, predictors.prediction_texts,
predictors.true_values.
"""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from featx.cli.main import main
from featx.errors import StoreError
from featx.predictors import loading
from featx.study.study import Study
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe


@pytest.fixture
def fitted(toy_home: Path) -> Path:
    """Return the working directory of a recipe with a fitted head."""
    featx.extract()
    featx.fit(heads=["logreg"], trials=1)
    return toy_home


def predict(*words: str) -> int:
    """Run the command, and return its exit code."""
    sys.argv = ["featx", "predict", *words]
    with pytest.raises(SystemExit) as exit_info:
        main()
    return int(exit_info.value.code or 0)


def predicted_labels(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, float]]:
    """Return label and probability by id, as the command prints them."""
    capsys.readouterr()
    assert predict(*words, "--json") == 0
    return {
        row["image"]: (row["label"], row["probability"]) for row in json.loads(capsys.readouterr().out)["predictions"]
    }


def test_all_places_give_the_same_predictions(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(Path("images").rglob("*.png"))[:10]
    expected = list(predicted_labels(capsys, *map(str, files)).values())
    Path("flat").mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, f"flat/{number}.png")
    with h5py.File("tiles.h5", "w") as h5:
        h5["images"] = np.stack([np.asarray(Image.open(file)) for file in files])
    shutil.make_archive("flat", "zip", "flat")
    assert predicted_labels(capsys, "flat") == {f"{number}.png": expected[number] for number in range(10)}
    assert predicted_labels(capsys, "flat.zip") == {f"flat.zip!{number}.png": expected[number] for number in range(10)}
    assert predicted_labels(capsys, "tiles.h5#3") == {"tiles.h5#3": pytest.approx(expected[3])}
    rows = predicted_labels(capsys, "tiles.h5")
    assert list(rows) == [f"tiles.h5#{number}" for number in range(10)]
    assert [p for _, p in rows.values()] == pytest.approx([p for _, p in expected], abs=1e-4)
    assert list(predicted_labels(capsys, "flat/[01].png")) == ["flat/0.png", "flat/1.png"]


def test_paths_come_from_standard_input(
    fitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"images/dark/000.png\n\nimages/light/000.png\n")))
    assert list(predicted_labels(capsys, "-")) == ["images/dark/000.png", "images/light/000.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predictions_are_written_batch_by_batch(
    suffix: str, fitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    all_labels = predicted_labels(capsys, "images")
    monkeypatch.setattr(loading, "IMAGES_PER_BATCH", 10)
    assert len(list(loading.predict_batches("images"))) == 5
    assert predicted_labels(capsys, "images") == {
        name: (label, pytest.approx(p)) for name, (label, p) in all_labels.items()
    }
    capsys.readouterr()
    assert predict("images", "--output", f"out/predictions.{suffix}") == 0
    assert capsys.readouterr().out.endswith(f"wrote the predictions for 48 images to out/predictions.{suffix}\n")
    file = f"out/predictions.{suffix}"
    readers = {"csv": pd.read_csv, "jsonl": partial(pd.read_json, lines=True), "parquet": pd.read_parquet}
    frame = readers[suffix](file)
    assert list(frame.columns) == ["image", "run", "label", "probability", "proba.dark", "proba.light", "true"]
    assert frame["image"].tolist() == list(all_labels)
    assert frame["label"].tolist() == [label for label, _ in all_labels.values()]
    assert frame["probability"].tolist() == pytest.approx([p for _, p in all_labels.values()])


def test_unreadable_images_are_listed_and_exit_with_3(
    fitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "IMAGES_PER_BATCH", 10)
    Path("images/dark/001.png").write_bytes(b"no picture")
    Path("images/light/009.png").unlink()
    Path("images/light/009.png").symlink_to("nowhere.png")
    reasons = {"light/009.png": "is a broken link", "dark/001.png": "is not an image of a known format"}
    capsys.readouterr()
    assert predict("images", "--json") == 3
    output = capsys.readouterr()
    printed = json.loads(output.out)
    assert printed["unreadable"] == reasons
    assert len(printed["predictions"]) == 46
    assert "error: 2 of 48 images cannot be read: 'dark/001.png' is not an image of a known" in output.err
    assert predict("images", "--output", "predictions.csv") == 3
    assert len(pd.read_csv("predictions.csv")) == 46


@pytest.mark.parametrize(
    ("error", "text"),
    [(StoreError("the cache is gone"), "the cache is gone"), (KeyboardInterrupt(), "interrupted")],
)
def test_json_is_complete_when_a_later_batch_fails(
    fitted: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    text: str,
) -> None:
    Path("images/dark/001.png").write_bytes(b"no picture")
    monkeypatch.setattr(loading, "IMAGES_PER_BATCH", 10)
    predict_batches = loading.predict_batches

    def fail_after_two(*args: Any, **options: Any) -> Iterator[Any]:
        yield from islice(predict_batches(*args, **options), 2)
        raise error

    monkeypatch.setattr(loading, "predict_batches", fail_after_two)
    capsys.readouterr()
    assert predict("images", "--json") == (130 if isinstance(error, KeyboardInterrupt) else 1)
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["predictions"]) == 19
    assert (printed["error"], list(printed["unreadable"])) == (text, ["dark/001.png"])
    assert {"warnings", "scores"} <= set(printed)


def test_an_error_before_the_first_prediction_prints_no_json(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert predict("images", "--run", "gone", "--json") == 1
    assert capsys.readouterr().out == ""


def test_names_that_are_not_utf8_are_predicted_and_written(
    fitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, gone = os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"gone\xe9.png")
    shutil.copy("images/dark/000.png", file)
    outputs = [f"predictions.{suffix}" for suffix in ("csv", "jsonl", "parquet")]
    for output in outputs:
        assert predict(file, "--output", output, "--html", "page.html") == 0
    names = [pd.read_csv(outputs[0]), pd.read_json(outputs[1], lines=True), pd.read_parquet(outputs[2])]
    assert [frame["image"].tolist() for frame in names] == [["caf\\xe9.png"]] * 3
    assert r"caf\xe9.png" in Path("page.html").read_text()
    stream = io.TextIOWrapper(io.BytesIO(os.fsencode(f"{file}\r\n{gone}\n")), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdin", stream)
    capsys.readouterr()
    assert predict("-", "--json") == 3
    printed = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in printed["predictions"]] == [r"caf\xe9.png"]
    assert list(printed["unreadable"]) == [r"gone\xe9.png"]


def test_many_unreadable_images_are_one_line(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(*(f"gone{number}.png" for number in range(12)), "--json") == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["predictions"] == []
    assert len(json.loads(output.out)["unreadable"]) == 12
    assert output.err.strip().endswith("'gone9.png' there is no such file; and 2 more ('--json' lists all)")


def test_files_stay_if_no_image_can_be_read(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"predictions.{suffix}" for suffix in ("csv", "jsonl", "parquet", "html")]
    options = [("--html" if file.endswith("html") else "--output", file) for file in files]
    assert [predict("gone.png", *option) for option in options] == [1] * len(files)
    assert not list(Path().glob("*predictions*"))
    assert [predict("images/dark/000.png", *option) for option in options] == [0] * len(files)
    contents = [Path(file).read_bytes() for file in files]
    for option in options:
        capsys.readouterr()
        assert predict("gone.png", "broken.png", *option) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(
            "error: none of the 2 images can be read, so that nothing is written: 'gone.png' th"
        )
        assert output.err.count("\n") == 1
    assert [Path(file).read_bytes() for file in files] == contents


def test_wrong_places_and_outputs_are_one_line(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    capsys.readouterr()
    for words, message in (
        (("empty",), "error: no images in 'empty'; expected image files"),
        (("images/*.jpg",), "error: 'images/*.jpg' matches no file"),
        (
            ("images", "--output", "predictions.xlsx"),
            "error: output 'predictions.xlsx' has suffix '.xlsx', expected .csv",
        ),
        (("images", "--html", "page.pdf"), "error: --html 'page.pdf' has suffix '.pdf', expected .html"),
    ):
        assert predict(*words) == 1
        assert message in capsys.readouterr().err
    assert not list(Path().glob("*predictions*"))


def test_the_function_joins_the_batches(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (prediction,) = featx.predict("images").values()
    monkeypatch.setattr(loading, "IMAGES_PER_BATCH", 7)
    (joined,) = featx.predict("images").values()
    assert joined.images == prediction.images
    assert np.allclose(joined.proba, prediction.proba, atol=1e-5)
    assert joined.labels == prediction.labels


def write_new_images(folder: Path, n_each: int = 3) -> None:
    """Write images that the study has not, in folders of its classes and in one of another name."""
    rng = np.random.default_rng(7)
    for name, level in (("dark", 40), ("light", 200), ("album", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(n_each):
            pixels = rng.normal(level, 30, (18, 20, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_images_and_all_runs_are_one_table_with_true_labels(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    featx.fit(heads=["rf"], trials=1)
    featx.ensemble(methods=["soft"])
    write_new_images(Path("new"))
    capsys.readouterr()
    assert predict("new") == 0
    output = capsys.readouterr()
    lines = [line.split() for line in output.out.splitlines() if line]
    assert output.out.splitlines()[0] == "class: predictions of 3 runs, the best run first"
    best, *other_runs = [name for name in lines[1] if name not in {"image", "true"}]
    assert lines[1] == ["image", best, "true", *other_runs]
    assert {best, *other_runs} == {"logreg", "rf", "soft"}
    rows = {line[0]: line[1:] for line in lines[2:11]}
    assert [rows["dark/0.png"][0], rows["dark/0.png"][2]] == ["dark", "dark"]
    assert [rows["album/0.png"][0], rows["album/0.png"][2]] == ["light", "–"]
    assert "images in the folder 'album' (3) have no true value, because no class of 'class' is called so" in output.err
    assert " ".join(lines[11]) == "class: score on the 6 images with a true value"
    assert lines[12] == ["run", "acc", "95", "%", "n"]
    assert lines[13] == [best, "1.0000", "0.610", "…", "1.000", "6"]
    assert predict("new/light", "--run", "soft", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert [row["true"] for row in output["predictions"]] == ["light"] * 3
    assert list(output["scores"].values()) == [
        {"score": "accuracy", "value": 1.0, "n": 3, "low": pytest.approx(0.4385, abs=1e-4), "high": 1.0}
    ]
    assert predict("new/album") == 0
    assert "true" not in capsys.readouterr().out


def test_true_labels_of_the_test_part_stay_sealed(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study.open(None)
    shutil.copytree("images", "copies")
    capsys.readouterr()
    assert predict("copies", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    sealed_images = {row["image"] for row in output["predictions"] if not row["true"]}
    assert sealed_images == set(study.ids("test"))
    (score,) = output["scores"].values()
    assert score["n"] == 48 - len(sealed_images)
    assert [text.split(" part")[0] for text in output["warnings"][-2:]] == [
        "some images belong to the sealed test",
        "some images belong to the train",
    ]
    assert study.openings() == []
    featx.evaluate(final=True)
    capsys.readouterr()
    assert predict("copies", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert all(row["true"] for row in output["predictions"])
    assert len(study.openings()) == 2, "the second comparison with test labels is logged too"
    assert (
        "some images belong to the test part, which has been opened: their true values are used, and this is logged"
        in output["warnings"]
    )


def test_a_label_table_gives_true_numbers(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    levels = [float(name.startswith("light")) for name in ids]
    pd.DataFrame({"path": ids, "level": levels}).to_csv("images/labels.csv", index=False)
    target = {"level": {"column": "level", "kind": "numbers"}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=target, head=toy_heads("ridge")))
    featx.extract()
    featx.fit()
    write_new_images(Path("new"))
    table = pd.DataFrame({"path": ["dark/0.png", "light/1.png", "album/2.png"], "level": [0.0, 1.0, None]})
    table.to_csv("new/truth.csv", index=False)
    capsys.readouterr()
    assert predict("new/truth.csv", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    rows = {row["image"]: row for row in output["predictions"]}
    assert [rows[name]["true.level"] for name in ("dark/0.png", "light/1.png", "album/2.png")] == [0.0, 1.0, None]
    errors = [abs(rows[name]["value.level"] - rows[name]["true.level"]) for name in ("dark/0.png", "light/1.png")]
    (score,) = output["scores"].values()
    assert (score["score"], score["n"]) == ("mae", 2)
    assert score["value"] == pytest.approx(np.mean(errors))
    assert predict("new/truth.csv") == 0
    assert "level: score on the 2 images with a true value" in capsys.readouterr().out


def test_several_numbers_are_printed_with_their_names(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    levels = [float(name.startswith("light")) for name in ids]
    pd.DataFrame({"path": ids, "level": levels, "twice": np.array(levels) * 2}).to_csv("images/labels.csv", index=False)
    target = {"size": {"columns": ["level", "twice"], "kind": "numbers"}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=target, head=toy_heads("ridge")))
    featx.extract()
    featx.fit()
    capsys.readouterr()
    assert predict("images/dark/000.png", "images/light/000.png") == 0
    assert re.search(r"000\.png +level \S+, twice \S+", capsys.readouterr().out)
    assert predict("images/dark/000.png") == 0
    assert re.search(r"^ridge +level \S+, twice \S+$", capsys.readouterr().out, re.MULTILINE)


def test_a_page_shows_the_images_with_all_labels(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    featx.fit(heads=["lda"], trials=1)
    write_new_images(Path("new"))
    Path("new/dark/broken.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert predict("new", "--html", "page.html", "--output", "predictions.csv") == 3
    output = capsys.readouterr()
    assert output.out.endswith("wrote the predictions for 9 images to page.html\n")
    assert "error: 1 of 10 images cannot be read: 'dark/broken.png' is not an image" in output.err
    page = Path("page.html").read_text()
    assert page.count('role="img"') == 9
    for text in ("logreg: dark", "lda: dark", "true: light", "dark/broken.png: is not an image", "9 images, 2 runs"):
        assert text in page
    assert len(pd.read_csv("predictions.csv")) == 18


def test_the_folder_of_a_run_needs_no_recipe(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = predicted_labels(capsys, "images/dark/000.png")
    Path("featx.toml").unlink()
    (folder,) = Path("runs/featx").glob("logreg-*")
    assert predicted_labels(capsys, "images/dark/000.png", "--run", str(folder)) == expected


@pytest.mark.parametrize(
    "words", ["predict nowhere --coverage 1.5", "evaluate --coverage 0", "evaluate --abstain-below 2"]
)
def test_shares_are_checked_before_the_work(
    words: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["featx", *words.split()])
    with pytest.raises(SystemExit, match="1"):
        main()
    *_, option, value = words.split()
    assert capsys.readouterr().err == f"error: {option} is {value}, expected a number between 0 and 1\n"
