"""One finished run on disk: its spec, its metrics, its header and its predictions."""

import shlex
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from featx.errors import DataError, FeatxError, IncompleteError
from featx.files.atomic import file_sha256, read_table
from featx.files.parsing import ParseError, validate_as
from featx.files.seals import HEADER_FILE, read_sealed
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.study.ensemble_metrics import EnsembleMetrics
from featx.study.run_metrics import METRICS, HeadMetrics, Measurements, NetworkMetrics
from featx.study.run_spec import (
    REMAKE_COMMANDS,
    RUN_SPECS,
    AnyRunSpec,
    EnsembleRunSpec,
    HeadRunSpec,
    SmoothedRunSpec,
)
from featx.study.run_warnings import TRAIN_USED, VAL_USED
from featx.study.smoothed_metrics import SmoothedMetrics
from featx.tables.predictions import AnyPredictions, predictions_from_frame, selection_rows

PREDICTIONS = "predictions.parquet"
SPEC = "spec.json"
AnyRunMetrics = HeadMetrics | NetworkMetrics | EnsembleMetrics | SmoothedMetrics
RUN_METRICS: dict[str, type[AnyRunMetrics]] = {
    "head": HeadMetrics,
    "network": NetworkMetrics,
    "ensemble": EnsembleMetrics,
    "smoothed": SmoothedMetrics,
}
T = TypeVar("T")


class HeaderFields(BaseModel):
    """Fields of a run's ``header.json`` that name its files."""

    body_sha256: str
    files_sha256: dict[str, str]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @cached_property
    def spec(self) -> AnyRunSpec:
        """The spec of the run."""
        content = read_sealed(self.path / SPEC)
        if (kind := content.get("kind")) not in RUN_SPECS:
            raise IncompleteError(f"{self.path / SPEC} has kind {kind!r}, expected {' or '.join(RUN_SPECS)}")
        return self._checked(SPEC, content, RUN_SPECS[kind])

    @cached_property
    def metrics(self) -> AnyRunMetrics:
        """The measurements of the run."""
        return self._checked(METRICS, read_sealed(self.path / METRICS), RUN_METRICS[self.kind])

    def _checked(self, name: str, content: dict[str, Any], kind: type[T]) -> T:
        try:
            return validate_as(content, kind)
        except ParseError as error:
            raise IncompleteError(f"{self.path / name} has unexpected content ({error})") from error

    def make_result(self, kind: type[T], *parts: Measurements, **other_fields: Any) -> T:
        """Return the result of a command that made this run.

        Parameters
        ----------
        kind
            A dataclass. Its field ``run`` is the name of the run, ``path`` its path as text, and ``warnings`` are the
            texts of its warnings. Other fields have the values of the run's metrics with the same name.
        parts
            Parts of the metrics, whose values are used before those of the metrics.
        other_fields
            Values of fields that are used before all others.
        """
        metrics = self.metrics
        values = {name: getattr(part, name) for part in (metrics, *parts) for name in type(part).model_fields}
        values |= {"run": self.name, "path": str(self.path), "target": self.spec.target, "flags": metrics.flags}
        values |= {"warnings": [warning.text for warning in metrics.run_warnings], **other_fields}
        return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]

    @cached_property
    def flags(self) -> list[str]:
        """The flags of the run; rows that a member has used in training are used by the ensemble as well."""
        flags = self.metrics.flags + ([TRAIN_USED] if self._has_leaking_network else [])
        members = [RunFolder(self.path.parent / name) for name in self.members]
        member_flags = {flag for member in members if (member.path / METRICS).is_file() for flag in member.flags}
        return list(dict.fromkeys([*flags, *(flag for flag in (VAL_USED, TRAIN_USED) if flag in member_flags)]))

    @property
    def _has_leaking_network(self) -> bool:
        """Whether a head is compared by train rows that the network of its embeddings may have learnt."""
        metrics = self.metrics
        if not isinstance(metrics, HeadMetrics) or metrics.val is not None:
            return False
        return CHECKPOINT_PREFIX in metrics.search.embeddings

    @cached_property
    def damage(self) -> str:
        """The reason why a file of the run is not intact; empty for intact runs."""
        try:
            self._check()
        except FeatxError as error:
            return self._describe_damage(error, self.path)
        for member in (RunFolder(self.path.parent / name) for name in self.members):
            # An ensemble whose members were removed or made again is stale, not damaged. Its cost, and whether it is
            # stale, depend on these files of its members.
            try:
                if (member.path / HEADER_FILE).is_file():
                    _ = member.spec, member.metrics
                    member._check_files_exist()
            except FeatxError as error:
                return self._describe_damage(error, member.path)
        return ""

    @property
    def remake_command(self) -> str:
        """The command that makes the run once more; that of heads if the file with its kind is damaged."""
        try:
            return REMAKE_COMMANDS[self.kind]
        except FeatxError:
            return REMAKE_COMMANDS["head"]

    def _describe_damage(self, error: FeatxError, damaged_path: Path) -> str:
        """Return what is damaged, and the command that removes the damaged run: it names a folder and no recipe."""
        command = f"featx runs rm {shlex.quote(str(damaged_path))}"
        return f"run {self.name} is damaged ({error}); make it again after '{command}'"

    def _check(self) -> None:
        """Compare every file of the run that a score or a prediction depends on with its checksum.

        Raises
        ------
        IncompleteError, DataError
            A file is missing or was changed.
        """
        for part in ("spec", "metrics", "predictions"):
            getattr(self, part)
        self._check_files_exist()
        for name, sha256 in self._header.files_sha256.items():
            file = self.path / name
            # The predictions were verified when they were read.
            if name != PREDICTIONS and file_sha256(file) != sha256:
                raise IncompleteError(f"{file} does not match its header: it was cut short or changed")

    def _check_files_exist(self) -> None:
        """Check that the files which the header names are there.

        Raises
        ------
        IncompleteError
            A file is missing.
        """
        for name in self._header.files_sha256:
            if not (self.path / name).is_file():
                raise IncompleteError(f"{self.path / name} is missing")

    @property
    def kind(self) -> str:
        """``head``, ``network``, ``ensemble`` or ``smoothed``."""
        return self.spec.kind

    @property
    def refit_of(self) -> str | None:
        """Name of the run whose setting was fitted on more rows here, and whose scores this run has; else None.

        If that run was renamed, it is its new name, at the end of which the key stayed.
        """
        if not isinstance(self.spec, HeadRunSpec) or self.spec.refit is None:
            return None
        name = self.spec.refit.run
        headers = self.path.parent.glob(f"[!.]*-{name.rpartition('-')[2]}/header.json")
        run_names = sorted(header.parent.name for header in headers)
        return name if name in run_names else next(iter(run_names), name)

    @property
    def is_ensemble(self) -> bool:
        """Whether the run is an ensemble."""
        return self.kind == "ensemble"

    @cached_property
    def _header(self) -> HeaderFields:
        return self._checked(HEADER_FILE, read_sealed(self.path / HEADER_FILE), HeaderFields)

    @property
    def body_sha256(self) -> str:
        """The SHA-256 of the body, as the header records it."""
        return self._header.body_sha256

    @property
    def members(self) -> dict[str, str]:
        """Name → SHA-256 of the body of each member of an ensemble, or of the run that a smoothed one is made of.

        The checksums are those of the time at which the run was made; empty for heads and networks.
        """
        return self.spec.members if isinstance(self.spec, EnsembleRunSpec | SmoothedRunSpec) else {}

    @property
    def has_all_members(self) -> bool:
        """Whether the members of a run are unchanged since it was made; True for runs without members."""
        return self._is_whole(())

    def _is_whole(self, ancestor_names: tuple[str, ...]) -> bool:
        """Return whether all direct and indirect members are unchanged."""
        if self.name in ancestor_names:
            raise DataError(f"{self.kind} {self.name} contains itself; remove its folder, {self.path}")
        for name, sha256 in self.members.items():
            member = RunFolder(self.path.parent / name)
            if not (member.path / HEADER_FILE).is_file() or member.body_sha256 != sha256:
                return False
            if not member._is_whole((*ancestor_names, self.name)):
                return False
        return True

    @cached_property
    def predictions(self) -> AnyPredictions:
        """The predictions for all parts of the split."""
        sha256 = self._header.files_sha256.get(PREDICTIONS)
        if sha256 is None:
            raise IncompleteError(f"{self.path / 'header.json'} names no {PREDICTIONS}")
        frame = read_table(self.path / PREDICTIONS, "", ("id", "part", "fold"), sha256)
        if frame.empty:
            raise DataError(f"its predictions: {self.path / PREDICTIONS} has no rows")
        try:
            return predictions_from_frame(frame)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"its predictions: {error}") from error

    def selection_predictions(self) -> AnyPredictions:
        """Return the predictions for the selection rows: those of val, or out-of-fold predictions if there are none."""
        return selection_rows(self.predictions)
