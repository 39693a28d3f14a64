"""One finished run on disk: what was asked, what was measured, and what it answers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from featx.disk import is_unchanged, read_json, read_table
from featx.errors import DataError, FeatxError, IncompleteError
from featx.file_names import is_folder_name
from featx.parsing import ParseError, checked
from featx.tables import Answered, Predictions, answers_from_frame, choosing


class SpecFields(BaseModel):
    """Fields of a run's ``spec.json`` that decide what it is compared with."""

    kind: str
    rules: int
    target: str
    members: dict[str, str] = {}
    group_columns: list[str] = []


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What was asked for; see `featx.heads.fit` and `featx.ensembles.election` for the keys."""
        found = self._fields("spec.json", ("kind", "rules", "target", "split", "labels"))
        try:
            members = checked(found, SpecFields).members
        except ParseError as error:
            raise IncompleteError(f"{self.path / 'spec.json'} holds something else than a spec ({error})") from error
        if outside := [name for name in members if not is_folder_name(name)]:
            raise IncompleteError(
                f"{self.path / 'spec.json'} names the member {outside[0]!r}, which is no folder's name"
            )
        return found

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What was measured when the run was made, seconds among it."""
        return self._fields("metrics.json", ("finished",))

    def _fields(self, name: str, needed: tuple[str, ...]) -> dict[str, Any]:
        """Return the content of one of the run's JSON files."""
        found = read_json(self.path / name)
        if not isinstance(found, dict) or (lost := [key for key in needed if key not in found]):
            lacking = f"no {lost[0]!r}" if isinstance(found, dict) else "no table of names and values"
            raise IncompleteError(f"{self.path / name} has {lacking}")
        if not is_unchanged(found):
            raise IncompleteError(f"{self.path / name} was edited after it was made")
        return found

    @cached_property
    def damage(self) -> str:
        """Why the run cannot be compared with others; empty where it can."""
        try:
            for part in ("spec", "metrics", "body_sha256", "answers"):
                getattr(self, part)
        except FeatxError as error:
            return f"run {self.name} is damaged ({error}); make it again with '--force', or remove its folder"
        return ""

    @property
    def marks(self) -> list[str]:
        """What should be looked at in how the run was made, in a word or two each."""
        return list(dict.fromkeys(str(one["mark"]) for one in self.metrics.get("findings", [])))

    @property
    def kind(self) -> str:
        """``head``, ``network`` or ``ensemble``."""
        return str(self.spec["kind"])

    @property
    def is_ensemble(self) -> bool:
        """Whether the run votes over others."""
        return self.kind == "ensemble"

    @cached_property
    def body_sha256(self) -> str:
        """What its header says of its body."""
        return str(self._fields("header.json", ("body_sha256",))["body_sha256"])

    @property
    def has_all_members(self) -> bool:
        """Whether the members of an ensemble are as they were when it was made; True for other runs."""
        return not self.is_ensemble or self._is_whole(())

    def _is_whole(self, above: tuple[str, ...]) -> bool:
        """Whether all that an ensemble votes over, ensembles among it, is as it was then."""
        if self.name in above:
            raise DataError(f"ensemble {self.name} contains itself; remove its folder, {self.path}")
        for name, sha256 in self.spec["members"].items():
            one = RunFolder(self.path.parent / name)
            if not (one.path / "header.json").is_file() or one.body_sha256 != sha256:
                return False
            if one.is_ensemble and not one._is_whole((*above, self.name)):
                return False
        return True

    @cached_property
    def answers(self) -> Answered:
        """All parts' predictions, of classes, labels or numbers."""
        frame = read_table(self.path / "predictions.parquet", "featx fit --force", ("id", "part", "fold"))
        if frame.empty:
            raise DataError(f"its predictions: {self.path / 'predictions.parquet'} has no rows")
        try:
            return answers_from_frame(frame)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"its predictions: {error}") from error

    @property
    def predictions(self) -> Predictions:
        """`answers` of a run that answers classes."""
        assert isinstance(self.answers, Predictions)
        return self.answers

    def chooser(self) -> Answered:
        """Return the rows that choose between runs."""
        return choosing(self.answers)
