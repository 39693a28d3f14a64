"""Extractions and trainings of one recipe at the same time keep what the others record."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from featx import extract
from featx.embeddings.extract import Extraction
from featx.errors import IncompleteError
from featx.files.atomic import read_json
from featx.files.seals import write_sealed
from featx.finetuning.phase_inputs import PhaseInputs
from featx.progress import ProgressCallback, no_progress
from featx.specs.extraction import EngineSpec
from featx.study.embedding_lock import BOUNDARIES, EMBEDDINGS
from featx.study.extraction_tables import extraction_lock
from featx.study.study import Study
from tests.recipes import LABEL_TABLE, toy_recipe

# Time in which another thread would write if it did not wait.
WAIT_S = 1.0


@pytest.fixture
def few_images(toy_home: Path) -> Path:
    """Return the folder of the toy study with eight of its images."""
    for image in (toy_home / "images").rglob("0[0-1]?.png"):
        image.unlink()
    return toy_home


def call_once_while_embedding(call: Callable[[], object]) -> ProgressCallback:
    """Return a callback that calls a function when the first images are embedded."""
    calls = [call]

    def progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed" and n_done and calls:
            calls.pop()()

    return progress


def test_an_extraction_keeps_what_another_recorded_meanwhile(few_images: Path) -> None:
    extract(progress=call_once_while_embedding(lambda: extract(backbones=["efficientnet_lite0"])))

    backbones = [embedding.request.backbone for embedding in Study.open(None).locked]
    assert backbones == ["efficientnet_lite0", "toy"]


def test_tables_that_another_extraction_writes_do_not_count_as_damaged(few_images: Path) -> None:
    extract()
    folder, extractions, has_read = Study.open(None).folder, list[Extraction](), Event()
    table = folder / "outcomes.parquet"
    content = table.read_bytes()

    def progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "read":
            has_read.set()

    thread = Thread(target=lambda: extractions.append(extract(progress=progress)))
    with extraction_lock(folder):
        table.write_bytes(b"the seal of this content is written last")
        thread.start()
        assert has_read.wait(60)
        thread.join(WAIT_S)
        table.write_bytes(content)
    thread.join()

    assert not any("is written again" in warning for warning in extractions[0].warnings)


def test_trainings_keep_the_boundaries_that_others_record(few_images: Path) -> None:
    extract()
    study = Study.open(None)
    embedding = study.locked[0].model_dump(mode="json") | {"is_extra": None}
    inputs = PhaseInputs(study, EngineSpec(), no_progress, study.manifest.ids, 4)
    thread = Thread(target=lambda: inputs.embedded(study.recipe.requests[0]))

    with extraction_lock(study.folder):
        thread.start()
        thread.join(WAIT_S)
        other: dict[str, Any] = embedding | {"reason": "another training"}
        write_sealed(study.folder / BOUNDARIES, {"embeddings": [other]})
    thread.join()

    assert read_json(study.folder / BOUNDARIES)["embeddings"] == [other, embedding]


def test_embeddings_that_an_earlier_version_added_stay(few_images: Path) -> None:
    extract()
    extract(backbones=["efficientnet_lite0"])
    lock_file = Study.open(None).folder / EMBEDDINGS
    lock = read_json(lock_file)
    for entry in lock["embeddings"]:
        del entry["is_extra"]
    write_sealed(lock_file, {"embeddings": lock["embeddings"], "pending": []})
    extract()
    assert {embedding.request.backbone for embedding in Study.open(None).locked} == {"efficientnet_lite0", "toy"}


def test_labels_that_change_during_an_extraction_require_another_one(few_images: Path) -> None:
    paths = sorted((few_images / "images").rglob("*.png"))
    table = few_images / "images" / "labels.csv"
    rows = [f"{path.relative_to(few_images / 'images').as_posix()},{path.parent.name}" for path in paths]
    table.write_text("\n".join(["path,class", *rows]))
    (few_images / "featx.toml").write_text(toy_recipe(data=LABEL_TABLE))

    extract(progress=call_once_while_embedding(lambda: table.write_text("\n".join(["path,class", *rows[::-1], ""]))))
    with pytest.raises(IncompleteError, match="or its label file changed after the last extraction"):
        _ = Study.open(None).manifest
    extract()
    assert len(Study.open(None).manifest) == len(paths)
