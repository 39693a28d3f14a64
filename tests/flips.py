"""Flipped bits and truncated files in a finished study, and their outcomes in featx."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import featx
from featx.errors import FeatxError
from featx.files.seals import read_sealed
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

RECIPE = toy_recipe(
    data=LABEL_TABLE,
    targets={"y": {"column": "y"}, "age": {"column": "age", "kind": "numbers"}},
    split={"column": "part"},
    head=None,
)
X = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


def make_study(home: Path) -> Path:
    """Finish a study of classes and numbers in the working directory; return its folder."""
    ids = make_images(home / "images", ("a", "b"), n_each=40)
    rows = np.arange(len(ids))
    frame = pd.DataFrame({"path": ids, "y": [name[0] for name in ids], "age": rows % 40 + (rows >= 40) * 30.0})
    frame["part"] = [("train", "train", "val", "test")[row % 4] for row in rows]
    frame.to_csv("images/labels.csv", index=False)
    Path("featx.toml").write_text(RECIPE)
    featx.extract()
    featx.fit(heads=["logreg", "ridge"], trials=1, target="y")
    featx.fit(heads=["ridge"], trials=1, target="age")
    featx.ensemble(methods=["soft"], target="y")
    featx.evaluate(final=True)
    return Study.open(None).folder


@dataclass
class Outcomes:
    """Outcomes of changed files.

    Attributes
    ----------
    counts
        Number of changes by outcome: ``not read``, ``noticed``, ``error``, ``warning`` or ``same numbers``.
    failures
        Descriptions of changes with other numbers and no error or warning, or with a traceback.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class FlippedStudy:
    """A study whose files are changed one at a time and restored.

    Parameters
    ----------
    folder
        The study's folder; its recipe is that of the working directory.
    evaluated_share
        Share of the changes that were noticed when the file was read, or in files that nobody reads, for which
        `featx.evaluate` is called nevertheless. It is called for every other change.
    seed
        Seed of the choice of files, bits and lengths.
    """

    def __init__(self, folder: Path, evaluated_share: float, seed: int) -> None:
        self.folder, self.evaluated_share = folder, evaluated_share
        self.rng = np.random.default_rng(seed)
        self.files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        self.changeable = [path for path, content in self.files.items() if content]
        runs = sorted({path.parent for path in self.files} - {folder})
        with opened_files() as self.read_files:
            self.numbers, self.warnings = numbers_and_warnings()
            self.outputs = {run: outputs_of(run) for run in runs}
        self.outcomes = Outcomes()

    def flip_bits(self, n_flips: int) -> None:
        """Flip one bit of a random file, `n_flips` times."""
        for _ in range(n_flips):
            path = self.changeable[self.rng.integers(len(self.changeable))]
            content = bytearray(self.files[path])
            position, bit_number = self.rng.integers(len(content)), self.rng.integers(8)
            content[position] ^= 1 << int(bit_number)
            self._try(path, bytes(content), f"bit {bit_number} of byte {position} of {path}")

    def truncate(self, n_truncations: int) -> None:
        """Truncate a random file, `n_truncations` times."""
        for _ in range(n_truncations):
            path = self.changeable[self.rng.integers(len(self.changeable))]
            length = int(self.rng.integers(len(self.files[path])))
            self._try(path, self.files[path][:length], f"{path} shortened to {length} bytes")

    def _try(self, path: Path, content: bytes, name: str) -> None:
        path.write_bytes(content)
        try:
            outcome = self._outcome(path)
        except Exception as error:
            # Any other error would be shown as a traceback.
            self.outcomes.failures.append(f"{name}: {type(error).__name__}: {error}")
        else:
            self.outcomes.counts[outcome] += 1
            if outcome == "other numbers":
                self.outcomes.failures.append(f"{name}: other numbers")
        finally:
            path.write_bytes(self.files[path])
            # A search for copies writes both files again.
            if path.name.startswith("copies."):
                for file_name in ("copies.json", "copies.parquet"):
                    (self.folder / file_name).write_bytes(self.files[self.folder / file_name])

    def _outcome(self, path: Path) -> str:
        is_read = path.resolve() in self.read_files
        if is_read and path.parent in self.outputs and not self._loads_as_before(path.parent):
            return "other numbers"
        if (not is_read or is_noticed(path)) and self.rng.random() >= self.evaluated_share:
            return "noticed" if is_read else "not read"
        try:
            numbers, warnings = numbers_and_warnings()
        except FeatxError:
            return "error"
        if warnings - self.warnings:
            return "warning"
        return "same numbers" if numbers == self.numbers else "other numbers"

    def _loads_as_before(self, run: Path) -> bool:
        """Return whether a run gives the same outputs as before, or gives an error."""
        try:
            return outputs_of(run) == self.outputs[run]
        except FeatxError:
            return True


@contextmanager
def opened_files() -> Iterator[set[Path]]:
    """Collect the paths of all files that are opened while the block runs."""
    paths: set[Path] = set()
    is_active = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and is_active and isinstance(arguments[0], str | Path):
            paths.add(Path(arguments[0]).resolve())

    # An audit hook cannot be removed.
    sys.addaudithook(note)
    try:
        yield paths
    finally:
        is_active = False


def numbers_and_warnings() -> tuple[str, set[str]]:
    """Return all that `featx.evaluate` reports, and its warnings."""
    tables: list[dict[str, Any]] = [asdict(evaluation) for evaluation in featx.evaluate()]
    warnings = {warning for table in tables for warning in table.pop("warnings")}
    for table in tables:
        table.pop("log_problems")
    return json.dumps(tables), warnings


def outputs_of(run: Path) -> bytes:
    """Return the outputs of a loaded run for a few embeddings."""
    return bytes(featx.load(run).predict_proba(X).tobytes())


def is_noticed(path: Path) -> bool:
    """Return whether reading a changed file of a study reports the change."""
    study = Study.open(None)
    if path.parent != study.folder:
        return bool(RunFolder(path.parent).damage)
    if path.name.startswith("final-"):
        return is_unreadable(path)
    if path.name.startswith("openings."):
        return bool(study.log_problems())
    return path in study.damaged_extraction() or (path.name == "extraction.json" and is_unreadable(path))


def is_unreadable(path: Path) -> bool:
    """Return whether a sealed file cannot be read."""
    try:
        read_sealed(path)
    except FeatxError:
        return True
    return False


def report(outcomes: Outcomes) -> str:
    """Return the counts as one line, and the failures below."""
    return "\n".join([str(dict(outcomes.counts)), *outcomes.failures[:20]])
