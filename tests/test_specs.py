"""Specs: frozen, with fingerprints that depend on every field and are stable across releases.

Modules: specs.base, specs.data, specs.embedding, specs.ensembling, specs.evaluation, specs.extraction,
specs.finetuning, specs.group, specs.head, specs.sections, specs.split, specs.target, specs.validation.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from featx.specs.base import Spec, fingerprint
from featx.specs.data import ArraySpec, LabelsSpec, ReaderSpec
from featx.specs.embedding import (
    Decoding,
    EmbeddingRequest,
    EmbeddingSpec,
    Preprocessing,
    ReducedPrecision,
    ResolvedEmbedding,
)
from featx.specs.ensembling import EnsembleSpec
from featx.specs.evaluation import EvaluationSpec
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.finetuning import AugmentSpec, FinetuneSpec, LayersSpec, LossSpec, PhaseSpec, ScheduleSpec
from featx.specs.group import GroupSpec
from featx.specs.head import HeadSpec
from featx.specs.sections import EmbeddingSection
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.specs.trained_network import NetworkSpec
from tests.recipes import FINETUNE_CHANGES, PRESET_CHANGES, ROBUSTNESS_CHANGES, SPLIT_CHANGES

quick = settings(max_examples=25)
HALF = (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(size_px=224, mean=HALF, std=HALF)
EMBEDDING = EmbeddingSpec(backbone="vgg16", weights_sha256="ab", tap="x", pool="avg", preprocessing=PREPROCESSING)
REQUEST = EmbeddingRequest()

# One spec of each kind, with another value for each field.
CHANGES: list[tuple[Spec, dict[str, Any]]] = [
    (
        LabelsSpec(file="a.csv"),
        {
            "file": "b.csv",
            "name": "{age}",
            "join": ("c.csv",),
            "columns": ("path", "y"),
            "encoding": "cp1252",
            "separator": "tab",
            "quote": "single",
            "skip_lines": 2,
            "decimal": "comma",
            "sheet": "labels",
            "text": ("code",),
            "path": "name",
            "root": "images",
            "strip_folders": 1,
            "suffix": ".jpg",
            "match": "end",
        },
    ),
    (
        EngineSpec(),
        {
            "device": "cpu",
            "workers": 3,
            "batch_size": 5,
            "runtime": "onnx",
            "min_cosine": 0.99,
            "segment_rows": 64,
            "gpus": 2,
            "search_gb": 1.0,
            "boundary_gb": 1.0,
        },
    ),
    (ClusterSpec(scheduler="tcp://a:1"), {"scheduler": "tcp://b:1", "workers_local": 2}),
    (
        ReducedPrecision(dtype="bf16", runtime="openvino", device="cpu"),
        {"dtype": "fp16", "runtime": "torch", "device": "cuda", "first_layers": 3, "first_dtype": "fp16"},
    ),
    (
        ArraySpec(images="a.h5#x"),
        {"images": "a.h5#x_train", "labels": {"label": "a.h5#y"}, "split": "train", "row_axis": "last"},
    ),
    (
        ReaderSpec(source="a"),
        {
            "source": "b",
            "labels": LabelsSpec(file="a.csv"),
            "arrays": (ArraySpec(images="a.npy"),),
            "reader": "folder",
            "drop_unlabelled": True,
            "sample": 100,
            "parts": LabelsSpec(file={"test": "test.txt"}),
            "external": True,
            "keep": {"cell": ("mono",)},
        },
    ),
    (
        TargetSpec(column="a"),
        {
            "column": "b",
            "above": 0.0,
            "classes": ("no", "yes"),
            "map": {"a": "b"},
            "bins": (0.0, 1.0),
            "keep": ("a", "b"),
            "balance": "undersample",
            "weight": "area",
            "confidence": "sure",
            "probability_confidence": True,
            "kind": "numbers",
            "columns": ("a", "b"),
            "separator": "|",
            "drop": ("c",),
            "soft": True,
            "ordered": True,
        },
    ),
    (GroupSpec(column="age"), {"column": "sex", "bins": (20.0, 40.0)}),
    (EvaluationSpec(), {"margin": 0.01}),
    *ROBUSTNESS_CHANGES,
    PRESET_CHANGES,
    (
        SplitSpec(),
        {
            "test": 0.1,
            "val": 0.0,
            "stratify": False,
            "by": "patient",
            "column": "split",
            "parts": {"0": "train"},
            **dict.fromkeys(("seed", "second_seed"), 1),
            "val_of": "rest",
            "order": "together",
            "method": "train_test_split",
            "duplicates": "independent",
            **SPLIT_CHANGES,
        },
    ),
    (
        REQUEST,
        {
            "backbone": "timm:resnet18",
            "weights": "none",
            "tap": "blocks.3",
            "pool": "gem",
            "size_px": 64,
            "resize": "squash",
            "crop_share": 0.875,
            "interpolation": "nearest",
            "mean": HALF,
            "std": HALF,
            "decoding": Decoding(frame=1),
            "precision": "bf16",
            "views": "flip",
            "vectors": "clip.npz",
            "join": "stack",
            "dtype": "float16",
        },
    ),
    (
        Decoding(),
        {"background": "#000000", "frame": 1, "value_range": (0.0, 4095.0), "bands": (2, 1, 0), "reduced": True},
    ),
    (
        PREPROCESSING,
        {
            "size_px": 225,
            "resize": "squash",
            "crop_share": 0.875,
            "interpolation": "bilinear",
            "mean": (0.4, 0.5, 0.5),
            "std": (0.4, 0.5, 0.5),
            "views": "flip",
        },
    ),
    (
        EMBEDDING,
        {
            "backbone": "resnet18",
            "weights_sha256": "ac",
            "tap": "y",
            "pool": "max",
            "preprocessing": PREPROCESSING.model_copy(update={"size_px": 225}),
            "decode": 5,
            "decoding": Decoding(frame=1),
            "precision": ReducedPrecision(dtype="bf16", runtime="openvino", device="cpu"),
            "dtype": "float16",
            "join": "stack",
            "format": 2,
        },
    ),
    (
        ResolvedEmbedding(request=REQUEST, spec=EMBEDDING, n_features=3),
        {
            "request": EmbeddingRequest(pool="max"),
            "spec": EMBEDDING.model_copy(update={"tap": "y"}),
            "n_features": 4,
        },
    ),
    (
        HeadSpec(name="svm"),
        {
            "name": "rf",
            "trials": 21,
            "timeout_s": 1.0,
            "metric": "log_loss",
            "class_weight": {"a": 2.0},
            "group_weight": "sex+age",
            "embeddings": "search",
            "calibration": "isotonic",
            "solver": "minibatch",
            "memory_gb": 1.0,
            "rule": "one_se",
            "warm_start": True,
            "nested": 3,
            "folds": 4,
            "params": {"n_estimators": 10},
            "space": {"max_features": (0.1, 0.5)},
            "seed": 1,
        },
    ),
    (
        LayersSpec(),
        {"pool": "gem", "batch_norm": True, "hidden": (8, 4), "dropout": 0.1, "activation": "tanh"},
    ),
    (LossSpec(), {"name": "focal", "label_smoothing": 0.1, "gamma": 1.0, "delta": 2.0, "round_to": 1.0, "bins": 9}),
    (
        NetworkSpec(request=REQUEST, preprocessing=PREPROCESSING, layers=LayersSpec(), loss=LossSpec(), n_outputs=2),
        {
            "request": EmbeddingRequest(pool="max"),
            "preprocessing": PREPROCESSING.model_copy(update={"size_px": 225}),
            "layers": LayersSpec(hidden=()),
            "loss": LossSpec(name="focal"),
            "n_outputs": 3,
            "offset": (1.0,),
            "factor": (2.0,),
            **dict.fromkeys(("values", "class_weights"), (0.5, 2.0)),
        },
    ),
    (PhaseSpec(trainable="head", lr=0.1, epochs=1), {"trainable": "all", "lr": 0.2, "epochs": 2}),
    (ScheduleSpec(), {"name": "step", "factor": 0.1, "epochs": 1}),
    (
        FinetuneSpec(),
        {
            "backbone": "vgg16",
            "weights": "none",
            "size_px": 64,
            "resize": "squash",
            "crop_share": 0.875,
            "interpolation": "nearest",
            "mean": HALF,
            "std": HALF,
            "strategy": "head",
            "phases": (PhaseSpec(trainable="head", lr=0.1, epochs=1),),
            "lr": 0.1,
            "epochs": 3,
            "batch_size": 8,
            "accumulate": 2,
            "optimiser": "sgd",
            "momentum": 0.5,
            "weight_decay": 0.1,
            "block_decay": 0.5,
            "schedule": ScheduleSpec(name="cosine"),
            "loss": LossSpec(name="focal"),
            "layers": LayersSpec(hidden=()),
            "augment": AugmentSpec(flip=True),
            **FINETUNE_CHANGES,
            "class_weight": "balanced",
            "group_weight": "cell",
            "scale": "unit",
            "batch_norm": "keep",
            "holdout": 0.2,
            "monitor": "val",
            "choose_by": "score",
            "patience": 0,
            "precision": "bf16",
            "seed": 1,
        },
    ),
    (
        EnsembleSpec(),
        {
            "target": "age",
            "name": "all",
            "methods": ("soft",),
            "members": ("rf",),
            "metric": "macro_f1",
            "stacker": "ridge",
            "folds": 4,
            "seed": 1,
        },
    ),
]
FIELDS = [(spec, name, changed) for spec, changes in CHANGES for name, changed in changes.items()]


# Limits change no numbers, and the target of a head is part of its run's state of the data: neither is part of the
# fingerprint of the spec.
NOT_IN_FINGERPRINTS = {Decoding: {"max_bytes"}, HeadSpec: {"target"}}


def test_every_field_of_every_spec_is_tested() -> None:
    tested_fields = {type(spec): set(changes) for spec, changes in CHANGES}
    specs = {kind for kind in Spec.__subclasses__() if kind.__module__.startswith("featx.specs.")}
    of_recipes = {"featx.specs.recipe", "featx.specs.sections"}
    assert {kind for kind in specs if kind.__module__ not in of_recipes} == set(tested_fields)
    assert tested_fields == {
        kind: set(kind.model_fields) - NOT_IN_FINGERPRINTS.get(kind, set()) for kind in tested_fields
    }


@pytest.mark.parametrize(("spec", "name", "value"), FIELDS, ids=lambda value: str(value)[:20])
def test_a_change_of_any_field_changes_the_fingerprint(spec: Spec, name: str, value: object) -> None:
    assert spec.model_copy(update={name: value}).fingerprint() != spec.fingerprint()


@pytest.mark.parametrize("spec", [spec for spec, _ in CHANGES], ids=lambda spec: type(spec).__name__)
def test_a_spec_read_back_from_json_has_the_same_fingerprint(spec: Spec) -> None:
    restored_spec = type(spec).model_validate_json(spec.model_dump_json())
    assert (restored_spec, restored_spec.fingerprint()) == (spec, spec.fingerprint())
    assert len(spec.fingerprint()) == 16


def test_fingerprints_are_stable_across_releases() -> None:
    assert EMBEDDING.fingerprint() == "0fea8fbfc8139fdb"
    assert ReaderSpec(source="a").fingerprint() == "ada51ce49deb9bfb"
    assert TargetSpec(column="a").fingerprint() == "0c5f287ad085ab39"
    assert SplitSpec().fingerprint() == "e687fc13145f6df4"


@quick
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans()), min_size=2))
def test_the_order_of_keys_does_not_matter_to_a_fingerprint(value: dict[str, object]) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


def test_a_spec_is_frozen_and_refuses_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SplitSpec().seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        SplitSpec.model_validate({"sed": 3})


@pytest.mark.parametrize("above", [float("nan"), float("inf")])
def test_numbers_must_be_finite(above: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        TargetSpec(column="a", above=above)


def test_specs_refuse_inconsistent_values() -> None:
    with pytest.raises(ValidationError, match=r"test \+ val = 1.1, expected less than 1"):
        SplitSpec(test=0.6, val=0.5)
    with pytest.raises(ValidationError, match="two or more different names"):
        TargetSpec(column="a", classes=("x", "x"))
    with pytest.raises(ValidationError, match=r"expected bins = \[b0, b1, …\] in rising order, found \[2.0, 1.0\]"):
        TargetSpec(column="a", bins=(2, 1))
    with pytest.raises(ValidationError, match="'above' and 'bins' both make classes of a number"):
        TargetSpec(column="a", bins=(1, 2), above=1)
    with pytest.raises(ValidationError, match="2 edges make 3 bands, found 2 names"):
        TargetSpec(column="a", bins=(1, 2), classes=("x", "y"))
    with pytest.raises(ValidationError, match=r"expected value_range = \[low, high\], found \[1.0, 1.0\]"):
        Decoding(value_range=(1, 1))
    for bands in ((), (0, 1), (0, 1, 2, 3)):
        with pytest.raises(ValidationError, match=r"expected bands = \[grey\] or \[red, green, blue\], found \["):
            Decoding(bands=bands)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Decoding(bands=(-1,))
    with pytest.raises(ValidationError, match="background"):
        Decoding(background="white")
    with pytest.raises(ValidationError, match="'above' makes 2 classes, found 3"):
        TargetSpec(column="a", above=1, classes=("x", "y", "z"))
    with pytest.raises(ValidationError, match="no backbone is called 'vgg17'; did you mean 'vgg16'"):
        EmbeddingSection(backbone="vgg17")
    with pytest.raises(ValidationError, match="no family of backbones is called 'tim'; did you mean 'timm'"):
        EmbeddingSection(backbone="tim:resnet18")


def test_requests_of_one_network_have_the_same_network_key() -> None:
    first, second = EmbeddingRequest(tap="a", pool="gem"), EmbeddingRequest(tap="b")
    assert first.network_key == second.network_key
    assert first.network_key != EmbeddingRequest(tap="a", pool="gem", size_px=64).network_key


def test_the_default_reader_follows_from_the_other_fields() -> None:
    labels = LabelsSpec(file="a.csv")
    assert ReaderSpec(source="a").reader_name == "folder"
    assert ReaderSpec(source="a", labels=labels).reader_name == "table"
    assert ReaderSpec(source="a", arrays=(ArraySpec(images="a.npy"),)).reader_name == "arrays"
    assert ReaderSpec(source="a", labels=labels, reader="folder").reader_name == "folder"
