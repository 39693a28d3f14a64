"""A model is opened only if it matches its header.

Modules: artifacts.header.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import extract, fit
from featx.artifacts.artifact import load_head, verify_body, write_head
from featx.artifacts.header import HEADER_FORMAT, GoldenInputs, provenance, read_header
from featx.errors import ArtifactError
from featx.files.atomic import file_sha256, write_json
from featx.files.seals import add_seal

X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


@pytest.fixture
def run(toy_home: Path) -> Path:
    """The folder of one fitted head."""
    extract()
    (result,) = fit(heads=["logreg"], trials=1)
    return Path(result.path)


def edit_header(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((run / "header.json").read_text())
    change(header)
    write_json(run / "header.json", add_seal(header))


def assert_refused(run: Path, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as error_info:
        load_head(*read_header(run))
    assert "\n" not in str(error_info.value)


def test_a_loaded_model_predicts_exactly_as_before(run: Path, tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=3)).fit(X, X[:, 0] > 0)
    _, run_header = read_header(run)
    fields = run_header.model_dump(include={"target", "classes", "n_features", "embeddings", "metrics"})
    folder = tmp_path / "again"
    folder.mkdir()

    write_head(folder, model, fields | provenance(["b", "a"]), X[:3])
    read_folder, header = read_header(folder)

    assert read_folder == folder
    assert load_head(read_folder, header).predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert (header.format, header.kind, header.classes) == (HEADER_FORMAT, "head", ("dark", "light"))
    assert header.train_ids_sha256 == provenance(["a", "b"])["train_ids_sha256"]
    assert {"featx", "scikit-learn", "numpy"} <= set(header.versions)


def test_the_body_is_a_plain_scikit_learn_object(run: Path) -> None:
    bare = joblib.load(run / "model.joblib")

    assert bare.predict_proba(X).tobytes() == load_head(*read_header(run)).predict_proba(X).tobytes()


@pytest.mark.parametrize("member", ["", "model.joblib", "header.json"])
def test_a_run_is_read_by_its_folder_or_a_file_in_it(run: Path, member: str) -> None:
    assert read_header(run / member)[0] == run


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no .*nowhere; expected a run folder"):
        read_header(tmp_path / "nowhere")


def test_a_model_without_its_header_is_not_opened(run: Path) -> None:
    (run / "header.json").unlink()

    assert_refused(run, r"has no header\.json beside it; expected a run folder made by featx")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe\x00", b'{"format": 1}'])
def test_an_unreadable_header_is_named(run: Path, content: bytes) -> None:
    (run / "header.json").write_bytes(content)

    assert_refused(run, r"header\.json is not a header of format 1")


def test_a_header_that_was_edited_is_refused(run: Path) -> None:
    header = json.loads((run / "header.json").read_text())
    write_json(run / "header.json", header | {"classes": header["classes"][::-1]})  # another order of the columns

    assert_refused(run, r"header\.json was edited after it was written; make the run again with 'featx fit --force'")


def test_a_header_without_its_seal_is_refused(run: Path) -> None:
    header = json.loads((run / "header.json").read_text())
    for unsealed in ({**header, "seal": None}, {name: value for name, value in header.items() if name != "seal"}):
        write_json(run / "header.json", unsealed)
        assert_refused(
            run, r"header\.json was edited after it was written; make the run again with 'featx fit --force'"
        )


def test_a_newer_format_asks_for_a_newer_featx(run: Path) -> None:
    edit_header(run, lambda header: header.update(format=HEADER_FORMAT + 1))

    assert_refused(run, "has format 2, this featx reads up to 1; update featx")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_body_is_not_opened(run: Path, share: float) -> None:
    body = run / "model.joblib"
    content = body.read_bytes()
    body.write_bytes(content[: int(share * len(content))])

    assert_refused(
        run, r"model\.joblib does not match its header .*cut short or changed; make the run again with 'featx fit"
    )


def test_a_body_that_would_run_code_is_not_opened(run: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return Path.touch, (run / "sprung",)  # type: ignore[return-value]

    joblib.dump(Trap(), run / "model.joblib")

    assert_refused(run, "does not match its header")
    assert not (run / "sprung").exists()
    joblib.load(run / "model.joblib")
    assert (run / "sprung").exists()


def test_a_missing_body_is_named(run: Path) -> None:
    (run / "model.joblib").unlink()

    assert_refused(run, r"has a header and no model\.joblib; make the run again with 'featx fit --force'")


def test_the_header_of_another_model_is_refused(run: Path) -> None:
    (second_head,) = fit(heads=["svm"], trials=1)
    (run / "header.json").write_bytes((Path(second_head.path) / "header.json").read_bytes())

    assert_refused(run, "does not match its header")


def test_a_model_with_other_golden_outputs_is_refused(run: Path) -> None:
    def move(header: dict[str, Any]) -> None:
        first = header["golden"]["outputs"][0]
        first[0], first[1] = first[0] + 0.01, first[1] - 0.01

    edit_header(run, move)

    assert_refused(
        run, r"gives other outputs for its golden inputs than when it was saved \(difference 0\.01\); .*scikit-learn"
    )


def test_rounding_is_within_the_golden_tolerance(run: Path) -> None:
    expected = load_head(*read_header(run)).predict_proba(X)
    edit_header(
        run, lambda header: header["golden"]["outputs"][0].__setitem__(0, header["golden"]["outputs"][0][0] + 1e-8)
    )

    np.testing.assert_array_equal(load_head(*read_header(run)).predict_proba(X), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(n_features=9), "n_features is 9, its embeddings have 8"),
        (lambda header: header.update(golden=None), "golden inputs are missing"),
        (lambda header: header["golden"]["outputs"].pop(), "golden inputs are missing or do not fit n_features"),
        (
            lambda header: header.update(classes=["dark"]),
            "golden inputs are missing or do not fit n_features and cla",
        ),
        (lambda header: header["golden"].update(inputs="AAAA"), "golden inputs are missing or do not fit n_features"),
        (lambda header: header.update(kind="heads"), r"\(kind: "),
        (lambda header: header.update(extra=1), r"\(extra: "),
        (lambda header: header.pop("body_sha256"), r"\(body_sha256: "),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(
    run: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_header(run, change)

    assert_refused(run, f"is not a header of format 1 .*{message}")


def test_a_changed_body_of_the_same_size_is_refused(run: Path) -> None:
    folder, header = read_header(run)
    body = verify_body(folder, header)
    content = bytearray(body.read_bytes())
    content[len(content) // 2] ^= 1
    body.write_bytes(content)

    assert file_sha256(body) != header.body_sha256
    assert_refused(run, "does not match its header")


@given(x=arrays(np.float32, array_shapes(min_dims=2, max_dims=2)))
def test_golden_inputs_come_back_bit_by_bit(x: np.ndarray) -> None:
    golden = GoldenInputs.from_arrays(x, np.ones((len(x), 2)) / 2)

    assert GoldenInputs.model_validate_json(golden.model_dump_json()).decode_inputs(x.shape[1]).tobytes() == x.tobytes()
    assert golden.has_shape(x.shape[1], 2)
    assert not golden.has_shape(x.shape[1] + 1, 2)


def test_cached_extraction_fitting_and_loading_import_no_torch(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('"toy"\nweights = "none"', '"efficientnet_lite0"'))
    for image in (toy_home / "images").rglob("00?.png"):
        image.unlink()
    assert extract().n_embedded == 28
    script = """
import sys, featx
n_cached = featx.extract().n_cached
(fitted,) = featx.fit(heads=["logreg"])
model = featx.load(fitted.path)
print(n_cached, model.classes, sorted({"torch", "timm", "torchvision"} & set(sys.modules)))
"""

    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)

    assert process.stdout == "28 ('dark', 'light') []\n"
