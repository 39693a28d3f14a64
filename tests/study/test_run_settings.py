"""Labels of runs state the settings in which the runs of a table differ.

Modules: study.run_settings.
"""

from typing import Any

from featx.specs.finetuning import FinetuneSpec
from featx.specs.head import HeadSpec
from featx.study.run_settings import describe_runs, find_called, replace_names, typed_names
from featx.study.run_spec import AnyRunSpec, EnsembleRunSpec, HeadRunSpec, NetworkRunSpec, TrainState, ValState

TRAIN = TrainState(target="age", split="", units="", labels="", group_columns=(), group_values="")
PHASES = ({"trainable": "head", "lr": 1e-3, "epochs": 25}, {"trainable": "all", "lr": 1e-4, "epochs": 5})


def network(**fields: Any) -> NetworkRunSpec:
    spec = FinetuneSpec.model_validate({"backbone": "small_cnn"} | fields)
    return NetworkRunSpec(rules=1, train=TRAIN, finetune=spec.identity(), weights_sha256="none", decoding={})


def section(name: str, **fields: Any) -> NetworkRunSpec:
    return network(**fields).model_copy(update={"section": name})


def head(name: str, **fields: Any) -> HeadRunSpec:
    spec = HeadSpec.model_validate({"name": name} | fields)
    return HeadRunSpec(rules=1, train=TRAIN, head=spec.identity(), embeddings=("0",))


def ensemble(method: str, *members: str) -> EnsembleRunSpec:
    return EnsembleRunSpec(
        rules=1,
        train=TRAIN,
        val=ValState(val_labels="", val_units=""),
        method=method,
        metric="mae",
        stacker=None,
        folds=5,
        seed=0,
        members=dict.fromkeys(members, "0"),
    )


def labels(specs: dict[str, AnyRunSpec]) -> list[str]:
    return [description.label for description in describe_runs(specs).values()]


def test_only_settings_that_tell_runs_apart_are_stated() -> None:
    specs: dict[str, AnyRunSpec] = {
        "a-1": network(lr=1e-3, loss="mse"),
        "a-2": network(lr=1e-4, loss={"name": "huber", "delta": 1.0}),
        "a-3": network(lr=1e-4, loss="mse", layers={"hidden": [256, 128]}),
    }
    assert labels(specs) == [
        "small_cnn/lr=0.001/mse",
        "small_cnn/lr=0.0001/huber",
        "small_cnn/lr=0.0001/mse",
    ]
    assert describe_runs(specs)["a-2"].settings == {"lr": 1e-4, "loss": "huber", "layers.hidden": [256]}
    assert labels({"a-1": specs["a-1"]}) == ["small_cnn"]


def test_progressive_runs_state_their_phases() -> None:
    specs = {
        "a-1": network(strategy="progressive", phases=PHASES),
        "a-2": network(strategy="progressive", phases=PHASES[:1]),
        "a-3": network(strategy="all", lr=1e-4, epochs=5),
    }
    assert labels(dict(specs)) == [
        "small_cnn/progressive/head:25x0.001+all:5x0.0001",
        "small_cnn/progressive/head:25x0.001",
        "small_cnn/all",
    ]


def test_sections_with_names_state_what_differs_within_them() -> None:
    specs: dict[str, AnyRunSpec] = {
        "own-1": section("own", strategy="scratch", lr=1e-3, layers={"dropout": 0.0}),
        "frozen-1": section("frozen", strategy="head", lr=1e-3),
        "frozen-2": section("frozen", strategy="head", lr=1e-4),
    }
    assert labels(specs) == ["own", "frozen/lr=0.001", "frozen/lr=0.0001"]
    assert describe_runs(specs)["own-1"].settings["strategy"] == "scratch"


def test_of_many_settings_those_are_stated_that_tell_runs_apart() -> None:
    augment = {"flip": True, "shift": 0.1, "rotation_deg": 10.0}
    specs: dict[str, AnyRunSpec] = {
        "a-1": network(strategy="head", lr=1e-3, augment=augment, seed=1, size_px=64),
        "a-2": network(strategy="head", lr=1e-3, augment=augment, seed=2, size_px=64),
        "a-3": network(strategy="all", lr=1e-4, seed=1),
    }
    texts = labels(specs)
    assert [text.count("/") for text in texts] == [2, 2, 2]
    assert all(f"/{strategy}/" in text for strategy, text in zip(["head", "head", "all"], texts, strict=True))
    assert [text.count("seed=1") for text in texts] == [1, 0, 1]


def test_heads_of_different_names_do_not_state_their_searches() -> None:
    logreg, rf = head("logreg", trials=5), head("rf", trials=1, calibration="none")
    assert labels({"a": logreg, "b": rf}) == ["logreg", "rf"]
    other_logreg = head("logreg", trials=9)
    assert labels({"a": logreg, "b": rf, "c": other_logreg})[::2] == [
        "logreg/trials=5",
        "logreg/trials=9",
    ]


def test_heads_state_the_embeddings_by_which_they_differ() -> None:
    names = tuple(f"efficientnet_lite0/blocks.{number}/avgmax,size_px=300" for number in (3, 4, 5, 6))
    specs: dict[str, AnyRunSpec] = {
        "svm-1": head("svm").model_copy(update={"embedding_names": names}),
        "svm-2": head("svm").model_copy(update={"embedding_names": names[1:2]}),
        "rf-3": head("rf").model_copy(update={"embedding_names": names}),
    }
    assert labels(specs) == ["svm/all", "svm/blocks.4", "rf"]
    assert describe_runs(specs)["svm-2"].settings == {"head": "svm", "embeddings": [names[1]]}
    assert labels({"svm-1": specs["svm-1"], "rf-3": specs["rf-3"]}) == ["svm", "rf"]


def test_ensembles_state_the_members_that_not_all_of_them_have() -> None:
    specs: dict[str, AnyRunSpec] = {
        "soft-age-1": ensemble("soft", "logreg-age-0", "rf-age-0"),
        "soft-age-2": ensemble("soft", "rf-age-0", "svm-age-0"),
        "logreg-age-0": head("logreg"),
    }
    assert labels(specs) == ["soft/members=logreg", "soft/members=svm-age-0", "logreg"]


def test_runs_of_equal_settings_keep_the_fingerprints_of_their_names() -> None:
    specs: dict[str, AnyRunSpec] = {
        "small_cnn-age-11": network(),
        "small_cnn-age-22": network(),
        "rf-age-3": head("rf"),
    }
    assert labels(specs) == ["small_cnn/11", "small_cnn/22", "rf"]
    text = "Without small_cnn-age-22 the ensemble loses most; its best member is rf-age-3."
    assert replace_names(text, describe_runs(specs)) == (
        "Without small_cnn/22 the ensemble loses most; its best member is rf."
    )


def test_the_exact_name_of_a_section_means_no_other_section() -> None:
    stems = {"own-toy-1": "own", "own2-toy-2": "own2", "rf-class-3": "rf"}
    labels = {"own-toy-1": "own", "own2-toy-2": "own2/lr=0.1", "rf-class-3": "rf"}
    assert find_called("own", stems, labels) == ["own-toy-1"]
    assert find_called("ow", stems, labels) == ["own-toy-1", "own2-toy-2"]
    assert find_called("own2/lr=0.1", stems, labels) == ["own2-toy-2"]
    assert find_called("svm", stems, labels) == []


def test_a_given_name_takes_the_place_of_the_label() -> None:
    specs: dict[str, AnyRunSpec] = {
        "svm-age-0a1b2c3d": head("svm"),
        "rf-layer2-age-1a1b2c3d": head("rf"),
        "best_one-2a1b2c3d": head("knn"),
        "ridge-better-3a1b2c3d": head("ridge"),
        "best-age-4a1b2c3d": head("lda"),
        "pair-soft-age-5a1b2c3d": ensemble("soft", "svm-age-0a1b2c3d"),
        "mine-6a1b2c3d": ensemble("greedy", "svm-age-0a1b2c3d"),
    }
    assert labels(specs) == ["svm", "rf", "best_one", "ridge-better", "best-age", "soft", "mine"]


def test_names_shared_by_several_targets_are_listed_in_full() -> None:
    names = ["svm-age-1", "svm-class-2", "rf-age-3", "odd"]
    short_names = {"svm-age-1": "svm", "svm-class-2": "svm", "rf-age-3": "rf"}
    assert typed_names(names, short_names) == ["svm-age-1", "svm-class-2", "rf", "odd"]
