"""Stored outputs of runs for corrupted images: one table by id for each kind and severity.

::

    runs/<recipe>/corruptions/<target>/<kind>-<severity>-<key>.parquet   one column for each run and class

A file belongs to the ids and contents of its images, a column to a run's name and files, so that neither is used after
one of these has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from featx.file_names import file_name
from featx.files.atomic import file_lock, read_table, write_table
from featx.registry import CORRUPTIONS
from featx.robustness.corruptions.corruption import Corruption
from featx.robustness.run_keys import run_key
from featx.robustness.sampled_rows import SampledRows
from featx.specs.base import fingerprint
from featx.specs.corrupting import PROBE, CorruptionSpec, kinds_in
from featx.study.run_folder import RunFolder
from featx.tables.ids import Floats
from featx.tables.predictions import PREDICTION_TABLES, AnyPredictions

FOLDER = "corruptions"
# Version of the corruptions and of the reduction of large pictures; outputs of another version are not reused.
CORRUPTIONS_VERSION = 1
SEPARATOR = "|"


@dataclass(frozen=True)
class Cell:
    """A kind of corruption at one severity.

    Attributes
    ----------
    kind
        Name of the kind.
    severity
        Severity; 0 for the original images.
    corruption
        The corruption; None for the original images.
    """

    kind: str
    severity: int
    corruption: Corruption | None

    @property
    def is_corruption(self) -> bool:
        """Whether images are corrupted: False for the original images and for probes."""
        return self.corruption is not None and self.corruption.family != PROBE

    @property
    def strength(self) -> float:
        """Strength of the corruption; 0 for the original images."""
        return 0.0 if self.corruption is None else self.corruption.strengths[self.severity - 1]


ORIGINAL = Cell("original", 0, None)


def make_cells(spec: CorruptionSpec) -> tuple[Cell, ...]:
    """Return the original images, then all kinds of a spec at each of its severities; probes have all of theirs."""
    cells = [ORIGINAL]
    for name in kinds_in(spec.kinds):
        corruption: Corruption = CORRUPTIONS.get(name)
        severities = [n for n in corruption.severities if corruption.family == PROBE or n in spec.severities]
        cells += [Cell(name, severity, corruption) for severity in severities]
    return tuple(cells)


def corruptions_folder(study: Path, target: str) -> Path:
    """Return the folder of a target's stored outputs below the folder of a study."""
    return study / FOLDER / file_name(target)


@dataclass(frozen=True)
class CorruptionStore:
    """Stored outputs for one sample of images.

    Attributes
    ----------
    folder
        Folder of a target's files.
    rows
        The sample.
    """

    folder: Path
    rows: SampledRows

    @cached_property
    def _rows_key(self) -> str:
        return self.rows.key

    @cached_property
    def _frames(self) -> dict[Path, pd.DataFrame]:
        return {}

    @cached_property
    def _prefixes(self) -> dict[RunFolder, str]:
        return {}

    def _prefix(self, run: RunFolder) -> str:
        """Return the beginning of the names of a run's columns; the files of a run are read once."""
        if run not in self._prefixes:
            self._prefixes[run] = f"{run.name}{SEPARATOR}{run_key(run)}{SEPARATOR}"
        return self._prefixes[run]

    def file(self, cell: Cell) -> Path:
        """Return the file of a cell; its name depends on the images and on the strength of the corruption."""
        facts = [CORRUPTIONS_VERSION, cell.kind, cell.severity, cell.strength, self._rows_key]
        return self.folder / f"{cell.kind}-{cell.severity}-{fingerprint(facts)[:12]}.parquet"

    def keys(self, cell: Cell) -> set[str]:
        """Return the keys of the runs whose outputs are stored."""
        return {name.split(SEPARATOR)[1] for name in self._frame(cell).columns if SEPARATOR in name}

    def _frame(self, cell: Cell) -> pd.DataFrame:
        file = self.file(cell)
        if file not in self._frames:
            is_stored = file.is_file()
            empty_frame = pd.DataFrame({"id": self.rows.ids})
            self._frames[file] = (
                read_table(file, "remove it to compute it again", ("id",)) if is_stored else empty_frame
            )
        return self._frames[file]

    def read(self, cell: Cell, runs: Iterable[RunFolder]) -> dict[str, AnyPredictions]:
        """Return the stored predictions of runs for the images of a cell, by name; runs without any are left out."""
        frame = self._frame(cell)
        table, part = PREDICTION_TABLES[self.rows.truth.kind], self.rows.part
        predictions = {}
        for run in runs:
            prefix = self._prefix(run)
            columns = [name for name in frame.columns if name.startswith(prefix)]
            if columns:
                names, decision = [name.removeprefix(prefix) for name in columns], run.predictions.decision
                ordered_decision = None if decision is None else run.predictions.ordered(names).decision
                values = frame[columns].to_numpy(np.float64)
                predictions[run.name] = table.of_part(part, self.rows.ids, values, names, decision=ordered_decision)
        return predictions

    def write(self, cell: Cell, outputs: Mapping[RunFolder, tuple[tuple[str, ...], Floats]]) -> None:
        """Add the names and values (n, k) of runs' outputs to a cell; older outputs of the same runs are removed."""
        names = {run.name for run in outputs}
        new_columns = {
            f"{self._prefix(run)}{name}": column
            for run, (columns, values) in outputs.items()
            for name, column in zip(columns, values.T, strict=True)
        }
        file = self.file(cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / ".lock"):
            # Another call may have added other runs since this one read the file.
            self._frames.pop(file, None)
            frame = self._frame(cell)
            kept_columns = [name for name in frame.columns if name.split(SEPARATOR)[0] not in names]
            self._frames[file] = pd.concat([frame[kept_columns], pd.DataFrame(new_columns)], axis=1)
            write_table(file, self._frames[file])
