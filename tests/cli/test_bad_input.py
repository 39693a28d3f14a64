"""Every error gives one clear line and exit code 1, and keeps the finished work."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from featx.cli.main import main
from featx.images.readers import Listing
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from tests.conftest import TOY_RECIPE, make_images
from tests.printed import unwrapped


def run(*words: str) -> int:
    """Run the command line in this process and return its exit code."""
    sys.argv = ["featx", *words]
    with pytest.raises(SystemExit) as exit_info:
        main()
    return int(exit_info.value.code or 0)


@pytest.fixture
def check_error(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Return a function that runs a command and checks its one error line."""

    def check(words: str, *expected: str) -> None:
        capsys.readouterr()
        assert run(*words.split()) == 1
        errors = capsys.readouterr().err
        (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in errors
        for text in expected:
            assert text in line, line

    return check


def test_a_missing_recipe_is_an_error(home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    for command in ("extract", "fit", "ensemble", "evaluate", "report", "predict x.png", "run"):
        check_error(command, "featx.toml", "featx init")


def test_all_mistakes_of_a_recipe_are_reported_at_once(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    text = (
        TOY_RECIPE.replace("test = 0.25", "tset = 0.25")
        .replace('"logreg"', '"logrge"')
        .replace("trials = 1", "trials = -1")
    )
    Path("featx.toml").write_text(text)
    check_error(
        "extract",
        "split.tset: no such key; did you mean 'test'",
        "head[0].name: no head is called 'logrge'; did you mean 'logreg'",
        "head[1].trials: found -1",
    )


def test_a_recipe_that_is_not_toml_is_an_error(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    Path("featx.toml").write_text("[data\n")
    check_error("fit", "is not TOML", "line 1")


def test_a_missing_label_column_is_an_error_of_fit(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    Path("featx.toml").write_text(TOY_RECIPE.replace('column = "class"', 'column = "klass"'))
    assert run("extract") == 0
    check_error(
        "fit",
        "the images have no split: no label column is called 'klass'; did you mean 'class'?",
        "correct the recipe",
    )


def test_a_single_class_is_an_error_of_fit(home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    make_images(home / "images", ["only"])
    Path("featx.toml").write_text(TOY_RECIPE)
    assert run("extract") == 0
    check_error("fit", "only one class, 'only'", "at least two")


def test_a_class_with_one_image_cannot_be_split_exactly(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    make_images(Path("images"), ["single"], n_each=1)
    Path("featx.toml").write_text(TOY_RECIPE.replace("[split]", '[split]\nmethod = "train_test_split"'))
    assert run("extract") == 0
    check_error("fit", "the smallest class has 1", "at least one image of each class in every part")


def test_a_missing_image_is_an_error_after_the_others_are_embedded(
    toy_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{path.relative_to('images')},{path.parent.name}" for path in sorted(Path("images").rglob("*.png"))]
    Path("images/labels.csv").write_text("\n".join(["path,class", *rows, "dark/gone.png,dark"]))
    Path("featx.toml").write_text(TOY_RECIPE.replace('"images"', '"images"\nlabels = { file = "labels.csv" }'))
    assert run("extract") == 1
    output = capsys.readouterr()
    assert "49 files: 48 embedded, 0 cached, 0 duplicate, 0 unreadable, 1 missing, 0 ignored" in output.out
    assert "missing: 'dark/gone.png'" in output.out
    assert "error: 1 of 49 images named in the labels do not exist, first 'dark/gone.png'" in output.err
    assert run("fit", "--head", "logreg") == 0
    capsys.readouterr()
    assert run("run", "featx.toml") == 1, "all stages are made, and the missing image is an error here too"
    output = capsys.readouterr()
    assert "report.html" in output.out
    assert "error: 1 of 49 images named in the labels do not exist, first 'dark/gone.png'" in output.err


def test_a_folder_without_images_is_an_error(home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    (home / "images").mkdir()
    Path("featx.toml").write_text(TOY_RECIPE)
    check_error("extract", "no usable images in", "one sub-folder per class")
    check_error("init images -r other.toml", "no images with labels were recognised in 'images': found no files")
    check_error("init nowhere -r other.toml", "'nowhere' does not exist")


def test_unknown_names_are_errors_with_suggestions(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    check_error("fit --head xgbost", "no head is called 'xgbost'; did you mean 'xgboost'")
    check_error("extract --backbone resnet5", "no backbone is called 'resnet5'; did you mean 'resnet50'")
    check_error("extract --backbone torchvision:resnet5", "torchvision has no network called 'resnet5'; did you mean")
    check_error("extract --backbone nobody:resnet50", "no family of backbones is called 'nobody'")
    check_error("backbones efficientnet_lit0", "did you mean 'efficientnet_lite0'")
    check_error("ensemble --method majorty", "no ensemble method is called 'majorty'; did you mean 'majority'")
    Path("featx.toml").write_text(TOY_RECIPE.replace('weights = "none"', 'weights = "none"\ntap = "1.conv"'))
    check_error("extract", "no layer is called '1.conv'", "known: ")


def test_missing_weights_are_an_error(toy_home: Path, check_error, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FEATX_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(toy_home / "torch"))
    check_error(
        "extract --backbone resnet50", "resnet50-11ad3fa6.pth", "sha256 beginning 11ad3fa6", str(toy_home / "torch")
    )
    Path("featx.toml").write_text(TOY_RECIPE.replace('weights = "none"', 'weights = "mine.pth"'))
    check_error("extract", "mine.pth", "no such file")


def test_an_unknown_device_is_an_error(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    check_error("extract --device cuda:99", "device 'cuda:99' does not exist on this machine")
    check_error("extract --device gpu", "no device is called 'gpu'")


def test_an_error_names_the_command_that_must_run_first(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    check_error("fit", "run 'featx extract'")
    check_error("ensemble", "run 'featx extract'")
    assert run("extract") == 0
    check_error("ensemble", "no finished run", "featx fit")
    check_error("evaluate --final", "no finished run")
    check_error("predict images/dark/000.png", "no finished run")
    assert run("fit", "--head", "logreg") == 0
    check_error("ensemble", "an ensemble needs two different finished runs or more, found logreg-")
    check_error("ensemble --members svm", "no finished run is called 'svm'")
    check_error(
        "fit --embedding toy/x/avg",
        "no extracted embedding is called 'toy/x/avg'; known: toy/last/avg,weights=none",
    )


def test_a_changed_cache_header_is_an_error(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    assert run("extract") == 0
    (store,) = Path("cache").glob("*.zarr")
    header = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(header.replace('"avg"', '"max"'))
    # Headers of another spec with a valid checksum are tested in tests/storage/test_bad_stores.py.
    for command in ("extract", "fit"):
        check_error(command, "zarr.json was changed after it was written; run 'featx cache verify --repair'")
    (store / "zarr.json").write_text("{}")
    check_error("extract", "is no embedding store of featx")
    (store / "zarr.json").write_text(header)
    assert run("fit", "--head", "logreg") == 0


def test_a_truncated_or_replaced_model_is_an_error(toy_home: Path, check_error) -> None:  # type: ignore[no-untyped-def]
    assert run("extract") == 0
    assert run("fit") == 0
    first, second = sorted(Path("runs/featx").glob("*/model.joblib"))
    content = first.read_bytes()
    first.write_bytes(content[:1000])
    check_error("predict images/dark/000.png", str(first), "does not match its header", f"featx runs rm {first.parent}")
    first.write_bytes(second.read_bytes())
    check_error("predict images/dark/000.png", "does not match its header")
    first.write_bytes(content)
    assert run("predict", "images/dark/000.png") == 0
    (first.parent / "header.json").write_text('{"format": 1}')
    check_error(
        "predict images/dark/000.png",
        f"run {first.parent.name} is damaged",
        "has no seal",
        "'featx predict --run NAME'",
    )
    assert run("predict", "images/dark/000.png", "--run", second.parent.name) == 0
    check_error(f"show {first.parent}", "is not a header")


def test_unreadable_images_are_named_after_the_predictions(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("extract") == 0
    assert run("fit", "--head", "logreg") == 0
    Path("broken.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert run("predict", "images/light/003.png", "broken.png", "gone.png") == 3
    output = capsys.readouterr()
    assert re.search(r"class of images/light/003\.png\nrun +prediction\n\S+ +light", output.out)
    assert (
        "2 of 3 images cannot be read: 'broken.png' is not an image of a known format; 'gone.png' there is"
        in output.err
    )


def test_usage_errors_exit_with_2(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--trials", "-1") == 2
    assert run("extrct") == 2
    assert "No such command 'extrct'" in capsys.readouterr().err


class _GreedyReader:
    """A reader of a third party that needs more memory than any machine has."""

    rank = 99
    size: int

    def recognise(self, source: str, labels: str | None) -> None:
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        raise AssertionError(bytes(self.size))


class _PetabyteReader(_GreedyReader):
    size = 1 << 50


class _OverflowReader(_GreedyReader):
    size = 1 << 70


@pytest.mark.parametrize("reader", [_PetabyteReader, _OverflowReader])
def test_an_out_of_memory_error_is_one_line(  # type: ignore[no-untyped-def]
    reader: type[_GreedyReader], toy_home: Path, check_error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS._added, "greedy", reader)
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('source = "images"', 'source = "images"\nreader = "greedy"'))
    check_error("extract", "there is not enough memory for this command")


def test_a_library_without_memory_is_one_line_and_other_errors_are_raised(
    toy_home: Path,
    check_error,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FullReader(_GreedyReader):
        message = "could not create a primitive"

        def read(self, *_: object) -> None:
            raise RuntimeError(self.message)

    monkeypatch.setitem(READERS._added, "greedy", FullReader)
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('source = "images"', 'source = "images"\nreader = "greedy"'))
    check_error("extract", "there is not enough memory for this command (RuntimeError could not create a primitive)")
    FullReader.message = "another problem"
    monkeypatch.setattr("sys.argv", ["featx", "extract"])
    with pytest.raises(RuntimeError, match="another problem"):
        main()


def test_channels_without_names_are_one_line_that_names_the_setting(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    check_error,  # type: ignore[no-untyped-def]
) -> None:
    np.savez("tiles.npz", x=np.zeros((12, 16, 16, 4), dtype=np.uint8), y=np.arange(12) % 2)
    assert run("init", "tiles.npz") == 0
    proposal = "decoding 4 channels without names in 12 of 12 inspected images: bands = [0, 1, 2]"
    assert proposal in unwrapped(capsys.readouterr().out)
    recipe = Path("featx.toml")
    text = recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"')
    recipe.write_text(text.replace("bands = [0, 1, 2]", ""))
    check_error(
        "extract",
        "is 'tiles.npz#0': has 4 channels without names; choose 1 or 3 by position, such as decoding.bands",
    )
    recipe.write_text(text)
    assert run("extract") == 0
