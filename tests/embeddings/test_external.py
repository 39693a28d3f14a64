"""Vectors made elsewhere as an embedding: read from a file, published into the cache, and used by all later stages.

Modules: embeddings.external, embeddings.vector_files.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

import featx
import featx.cache
from featx.cli.main import main
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, RecipeError
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

FORMATS = ("npz", "h5", "parquet")
RECIPE = toy_recipe(embedding=[{"vectors": "clip.npz"}], head=toy_heads("logreg"))


def write_vectors(file: Path, ids: Any, x: Any) -> None:
    """Write a file of vectors as software without featx does."""
    if file.suffix == ".npz":
        np.savez(file, ids=np.array(ids), x=x)
    elif file.suffix == ".h5":
        with h5py.File(file, "w") as h5_file:
            h5_file["x"] = x
            h5_file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
    else:
        pd.DataFrame({"ids": ids, "x": list(x)}).to_parquet(file)


def vectors_of(ids: list[str], d: int = 5) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return random vectors whose first feature depends on the class."""
    x = np.random.default_rng(len(ids)).normal(size=(len(ids), d)).astype(np.float32)
    x[:, 0] += [4.0 * name.startswith("light") for name in ids]
    return x


@pytest.fixture
def ids(home: Path) -> list[str]:
    """Write images, a recipe with vectors for them and the vectors in another order; return the ids in that order."""
    ids = make_images(home / "images")[::-1]
    (home / "featx.toml").write_text(RECIPE)
    write_vectors(home / "clip.npz", ids, vectors_of(ids))
    return ids


def run_command(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["featx", *words.split()])
    with pytest.raises(SystemExit) as exit_info:
        main()
    output = capsys.readouterr()
    return int(exit_info.value.code or 0), output.out, output.err


def read_study() -> tuple[list[str], np.ndarray[Any, Any]]:
    study = Study.open(None)
    embeddings = read_embeddings(study, study.manifest.ids, locked_embeddings(study))
    return embeddings.ids.tolist(), embeddings.x


@pytest.mark.parametrize("file_format", FORMATS)
def test_vectors_of_each_format_are_joined_by_id(ids: list[str], file_format: str) -> None:
    Path("featx.toml").write_text(RECIPE.replace("clip.npz", f"clip.{file_format}"))
    write_vectors(Path(f"clip.{file_format}"), ids, vectors_of(ids))
    result = featx.extract()
    assert (result.n_embedded, result.n_unreadable, result.warnings) == (48, 0, [])
    study_ids, x = read_study()
    np.testing.assert_array_equal(x, vectors_of(ids)[[ids.index(name) for name in study_ids]])
    repeated_extraction = featx.extract()
    assert (repeated_extraction.n_embedded, repeated_extraction.n_cached) == (0, 48)


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_exported_file_is_accepted(toy_home: Path, file_format: str) -> None:
    featx.extract()
    _, expected = read_study()
    featx.cache.export("toy", f"mine.{file_format}")
    Path("featx.toml").write_text(toy_recipe(embedding=[{"vectors": f"mine.{file_format}"}]))
    featx.extract()
    np.testing.assert_array_equal(read_study()[1], expected)


def test_a_changed_file_is_another_embedding(ids: list[str]) -> None:
    first = featx.extract()
    write_vectors(Path("clip.npz"), ids, vectors_of(ids) * 2)
    second = featx.extract()
    assert second.n_embedded == 48
    assert first.embeddings[0]["store"] != second.embeddings[0]["store"]
    (embedding,) = locked_embeddings(Study.open(None))
    assert embedding.spec.weights_sha256 == hashlib.sha256(Path("clip.npz").read_bytes()).hexdigest()
    assert len(featx.cache.ls()) == 2


def test_later_stages_use_external_vectors(
    ids: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("featx.toml").write_text(toy_recipe(embedding=[{"vectors": "clip.npz"}], head=toy_heads("logreg", "rf")))
    code, out, err = run_command("run --final", capsys, monkeypatch)
    assert (code, err.count("error: ")) == (0, 0)
    assert Path("runs/featx/report.html").is_file()
    assert "external" in featx.cache.ls()[0].embedding
    assert run_command("cache verify", capsys, monkeypatch)[0] == 0

    run = next(path.parent for path in Path("runs/featx").glob("logreg*/header.json"))
    header = json.loads((run / "header.json").read_text())
    (embedding,) = header["embeddings"]
    sha256 = hashlib.sha256(Path("clip.npz").read_bytes()).hexdigest()
    assert (embedding["spec"]["backbone"], embedding["spec"]["weights_sha256"]) == ("external", sha256)
    assert embedding["request"]["vectors"] == "clip.npz"
    labels = featx.load(run).predict(vectors_of(ids))
    assert np.mean(labels == [name.partition("/")[0] for name in ids]) > 0.9
    assert out


def test_new_images_need_their_vectors(
    ids: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    featx.extract()
    (run,) = featx.fit()
    code, _, err = run_command("predict images/dark/000.png", capsys, monkeypatch)
    assert code == 1
    assert err.strip() == (
        "error: embedding 'clip.npz' holds vectors that were made elsewhere; featx has no network that computes them "
        "for other images: give these vectors with 'featx predict --vectors FILE', or choose runs on networks with "
        "'featx predict --run NAME'"
    )
    new_ids = ["new/dark", "new/light"]
    write_vectors(Path("new.parquet"), new_ids, np.array([[-1.0] + [0] * 4, [6.0] + [0] * 4]))
    code, out, err = run_command("predict --vectors new.parquet --json", capsys, monkeypatch)
    assert (code, err) == (0, "")
    predictions = [(row["image"], row["label"]) for row in json.loads(out)["predictions"]]
    assert predictions == [("new/dark", "dark"), ("new/light", "light")]
    (prediction,) = featx.predict(vectors="new.parquet").values()
    expected = featx.load(run.path).predict_proba(np.array([[-1.0] + [0] * 4, [6.0] + [0] * 4]))
    np.testing.assert_array_equal(prediction.proba, expected)

    write_vectors(Path("new.npz"), new_ids, np.ones((2, 4)))
    with pytest.raises(DataError, match=r"new\.npz has 4 features, the runs were fitted on 5 of clip\.npz"):
        featx.predict(vectors="new.npz")
    write_vectors(Path("none.npz"), [], np.ones((0, 5)))
    with pytest.raises(DataError, match=r"none\.npz has no rows; expected one row of x for each image"):
        featx.predict(vectors="none.npz")
    with pytest.raises(DataError, match="found images and vectors to predict"):
        featx.predict("a.png", vectors="new.npz")


def test_vectors_do_not_predict_for_runs_on_a_network(toy_home: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(head=toy_heads("logreg")))
    featx.extract()
    featx.fit()
    write_vectors(Path("new.npz"), ["a"], np.ones((1, 8)))
    with pytest.raises(DataError, match="--vectors: the runs use toy/last/avg,weights=none; expected runs on one"):
        featx.predict(vectors="new.npz")


def test_precisions_of_external_vectors_are_not_compared(ids: list[str]) -> None:
    featx.extract()
    with pytest.raises(DataError, match="no embedding of the recipe is computed by a network"):
        featx.doctor(precision=True)


def test_onnx_holds_the_head_alone(ids: list[str]) -> None:
    featx.extract()
    (run,) = featx.fit()
    notes: list[str] = []
    exported_models = featx.export(
        run.run,
        "onnx",
        out="models",
        progress=lambda stage, _, __, note="": notes.append(note) if stage == "note" else None,
    )
    assert [Path(model.path).name for model in exported_models] == [f"{run.run}.head.onnx"]
    assert notes == ["no file of network and head is written: 'clip.npz' holds vectors that were made elsewhere"]


def test_networks_and_vectors_stand_side_by_side(ids: list[str]) -> None:
    sections = [{"backbone": "toy", "weights": "none"}, {"vectors": "clip.npz", "dtype": "float16"}]
    Path("featx.toml").write_text(toy_recipe(embedding=sections, head=toy_heads("logreg")))
    result = featx.extract()
    assert [embedding["name"] for embedding in result.embeddings] == [
        "toy/last/avg,weights=none",
        "clip.npz,dtype=float16",
    ]
    assert read_study()[1].shape == (48, 8 + 5)
    assert featx.cache.export("clip", "out.npz").n_features == 5


def test_images_without_a_vector_are_reported(ids: list[str]) -> None:
    write_vectors(Path("clip.npz"), [*ids[3:], "elsewhere.png"], vectors_of([*ids[3:], "elsewhere.png"]))
    result = featx.extract()
    assert (result.n_embedded, result.n_unreadable) == (45, 3)
    assert sorted(result.failures) == sorted((name, "unreadable", "has no vector in clip.npz") for name in ids[:3])
    assert result.warnings == ["clip.npz: 1 of 46 ids are no images of the recipe and were ignored"]
    with pytest.raises(DataError, match="3 of 48 images have no embedding"):
        featx.extract(on_error="fail")
    assert featx.extract(on_error=Path("broken")).n_unreadable == 3
    assert len(list(Path("images").rglob("*.png"))) == 48


def test_copies_of_an_image_share_one_vector(ids: list[str]) -> None:
    Path("images/dark/copy.png").write_bytes(Path("images/dark/000.png").read_bytes())
    assert featx.extract().n_duplicate == 1
    x = vectors_of(ids)
    write_vectors(Path("clip.npz"), [*ids, "dark/copy.png"], np.vstack([x, x[[ids.index("dark/000.png")]] * 1.001]))
    assert featx.extract().n_duplicate == 1
    write_vectors(Path("clip.npz"), [*ids, "dark/copy.png"], np.vstack([x, x[[0]]]))
    message = r"1 images have another vector than a copy of the same content, first 'dark/copy.png', a copy of"
    with pytest.raises(DataError, match=message):
        featx.extract()


def test_one_file_for_two_recipes_with_other_ids_is_refused(ids: list[str]) -> None:
    featx.extract()
    make_images(Path("other"))
    files = [Path("other", name) for name in ids[:2]]
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    Path("other.toml").write_text(RECIPE.replace('"images"', '"other"'))
    with pytest.raises(DataError, match="2 images have another vector in cache/external-.*, first 'light/02"):
        featx.extract("other.toml")


def test_damaged_rows_are_repaired_from_the_file(ids: list[str]) -> None:
    featx.extract()
    _, x_before = read_study()
    (store,) = Path("cache").glob("*.zarr")
    (file,) = store.glob("segment-*/x/c/0/0")
    content = bytearray(file.read_bytes())
    content[2] ^= 16
    file.write_bytes(content)
    (result,) = featx.cache.verify(repair=True)
    assert (result.n_damaged_rows, result.n_embedded) == (1, 1)
    np.testing.assert_array_equal(read_study()[1], x_before)


def _with(x: Any, row: int, value: float) -> Any:
    x = x.copy()
    x[row] = value
    return x


WRONG_FILES = {
    "duplicates": (lambda ids, x: (["a", *ids[1:3], "a"], x[:4]), r"1 of 4 ids occur again, first 'a'"),
    "nan": (lambda ids, x: (ids, _with(x, 7, np.nan)), r"1 of 48 vectors hold nan.* first that of 'light/016.png'"),
    "too large": (lambda ids, x: (ids, _with(x.astype(float), 0, 1e300)), "1 of 48 vectors hold nan, infinity or num"),
    "integers": (lambda ids, x: (ids, x.astype(int)), r"x is int64 of shape \(48, 5\); expected 'ids' \(n,\) of text"),
    "one axis": (lambda ids, x: (ids, x[:, 0]), r"x is float32 of shape \(48,\)"),
    "no features": (lambda ids, x: (ids, x[:, :0]), r"x is float32 of shape \(48, 0\)"),
    "lengths": (lambda ids, x: (ids[:-1], x), "found 47 ids and 48 rows of x"),
    "numbers as ids": (lambda ids, x: (range(48), x), r"ids are int64 of shape \(48,\), first 0; expected"),
    "no ids": (lambda ids, x: ([], x[:0]), "has no vector for any of 48 images: its first id is none"),
    "other ids": (lambda ids, x: ([f"x/{name}" for name in ids], x), "its first id is 'x/light/023.png', the first"),
}


@pytest.mark.parametrize("problem", WRONG_FILES)
def test_a_wrong_file_is_refused_in_one_line(ids: list[str], problem: str) -> None:
    change, message = WRONG_FILES[problem]
    write_vectors(Path("clip.npz"), *change(ids, vectors_of(ids)))
    with pytest.raises(DataError, match=message) as error_info:
        featx.extract()
    assert str(error_info.value).startswith(str(Path("clip.npz").absolute()))
    assert "\n" not in str(error_info.value)
    assert not list(Path("cache").glob("*.zarr/segment-*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clip.npz", b"no zip", "clip.npz cannot be read as arrays"),
        ("clip.h5", b"no hdf5", "clip.h5 cannot be read as arrays"),
        ("clip.parquet", b"no parquet", "clip.parquet is not a Parquet table"),
        ("clip.npz", None, "there is no .*clip.npz"),
    ],
)
def test_an_unreadable_file_is_refused_in_one_line(
    ids: list[str], name: str, content: bytes | None, message: str
) -> None:
    Path("featx.toml").write_text(RECIPE.replace("clip.npz", name))
    Path("clip.npz").unlink()
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error_info:
        featx.extract()
    assert "\n" not in str(error_info.value)


def test_a_file_without_ids_or_with_objects_is_refused(ids: list[str]) -> None:
    np.savez("clip.npz", names=np.array(ids), x=vectors_of(ids))
    with pytest.raises(DataError, match="has no 'ids'; found names, x"):
        featx.extract()
    np.savez("clip.npz", ids=np.array(ids, dtype=object), x=vectors_of(ids))
    with pytest.raises(DataError, match="clip.npz: .ids. holds Python objects; expected"):
        featx.extract()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0], [3.0]], "x has lists of length 1 to 2"),
        ([[1.0], None], r"x has lists of length -1 to 1 \(-1: null\)"),
        ([1.0, 2.0], "x is a column of double"),
        ([["a"], ["b"]], "x is object of shape"),
    ],
)
def test_wrong_lists_of_parquet_are_refused(ids: list[str], x: list[Any], message: str) -> None:
    Path("featx.toml").write_text(RECIPE.replace("clip.npz", "clip.parquet"))
    pd.DataFrame({"ids": ids[:2], "x": x}).to_parquet("clip.parquet")
    with pytest.raises(DataError, match=message):
        featx.extract()


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (
            [{"vectors": "clip.npz", "backbone": "toy", "pool": "max"}],
            "found 'vectors' and 'backbone', 'pool', expected",
        ),
        ([{"vectors": "clip.csv"}], r"found 'clip.csv', expected a file \*.npz, \*.h5, \*.parquet"),
        ([{"vectors": "a/clip.npz"}, {"vectors": "b/clip.npz"}], "2 files of vectors are called 'clip.npz'"),
    ],
)
def test_a_recipe_with_wrong_keys_is_refused(home: Path, embedding: list[dict[str, str]], message: str) -> None:
    Path("featx.toml").write_text(toy_recipe(embedding=embedding))
    with pytest.raises(RecipeError, match=message):
        load_recipe()


def test_the_docs_write_a_file_that_featx_reads(ids: list[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "extraction.md").read_text()
    (code,) = re.findall(r"<!-- run: vectors -->\n```python\n(.*?)```", page, re.DOTALL)
    Path("clip.npz").unlink()
    exec(compile(code, "extraction.md", "exec"), {})
    assert featx.extract().n_embedded == 48
