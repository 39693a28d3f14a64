"""A study: a recipe, its extracted data, its finished runs and the log of its test scores.

::

    cache/<backbone>-<fingerprint>.zarr      one embedding, shared by all recipes
    runs/<recipe>/manifest.parquet           all images with their labels and digests
                 /split.parquet              the part of each image
                 /outcomes.parquet           the outcome of the extraction of each image
                 /source.json, split.json    the settings that these tables depend on
                 /extraction.json            their checksums, written last
                 /recipe.json                the file of the recipe (`featx.study.study_owner`)
                 /embeddings.lock.json       the resolved spec of each requested embedding
                 /openings.jsonl             every opening of the sealed test split (`featx.study.test_log`)
                 /report.html
                 /<run>/                     one finished run, published in one step

Labels of the test split are returned by `Study.open_test` only, which logs each call.
"""

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import DataError, FeatxError, IncompleteError
from featx.file_names import file_name
from featx.files.atomic import atomic_folder, file_state, machine_id
from featx.files.seals import HEADER_FILE, read_sealed, write_sealed
from featx.registry import suggest_names
from featx.specs.base import fingerprint
from featx.specs.recipe import Recipe, load_recipe
from featx.specs.sequences import as_tuple
from featx.storage.leases import remove_leftovers
from featx.study.labelled_rows import LabelledRows
from featx.study.run_folder import SPEC, RunFolder
from featx.study.run_settings import find_called, label_runs, typed_names
from featx.study.run_spec import RULES, EnsembleRunSpec, HeadRunSpec, NetworkRunSpec, RunSpec, TrainState, ValState
from featx.study.study_owner import check_owner
from featx.study.test_log import OpeningLog
from featx.study.variant_runs import describe_outer_runs, describe_preset_runs
from featx.tables.truth import AnyTruth

WHAT_CHANGED = {
    "target": "predicts another target",
    "split": "was made on other images or another split",
    "units": "was made with other groups or copies",
    "labels": "was trained on other labels or weights",
    "group_columns": "was weighted by other groups",
    "group_values": "was weighted by other groups",
    "val_labels": "was trained on other val labels",
    "val_units": "was made with other groups or copies in val",
}


@dataclass(frozen=True)
class Study(LabelledRows):
    """A recipe with all that has been made for it: extracted data, finished runs, the log of test scores.

    Attributes
    ----------
    run_names
        Names of the runs that belong to the study; None for all in its folder.
    """

    run_names: frozenset[str] | None = None

    @classmethod
    def open(cls, recipe: str | Path | Recipe | None) -> "Study":
        """Read the recipe (`featx.specs.recipe.find_recipe` says which).

        Raises
        ------
        DataError
            The study's folder belongs to another recipe (`featx.study.study_owner`).
        """
        study = cls(load_recipe(recipe))
        check_owner(study.recipe)
        return cls(study.recipe.with_checkpoints(study.folder))

    @contextmanager
    def new_run(self, stem: str, spec: RunSpec) -> Iterator[Path]:
        """Lend a private folder for the files of a run, which becomes the folder of the run after the block.

        Parameters
        ----------
        stem
            The beginning of the run's name, made safe by `featx.file_names`; the fingerprint of `spec` is appended.
        spec
            The spec of the run, which is written to ``spec.json``.
        """
        remove_leftovers(self.folder)
        with atomic_folder(self.run_path(stem, spec)) as folder:
            yield folder
            write_sealed(folder / SPEC, spec.identity())

    def find_run(self, stem: str, spec: RunSpec) -> RunFolder | None:
        """Return the run that `new_run` made; None if it does not exist.

        Raises
        ------
        IncompleteError
            The run exists and is damaged.
        """
        # A run whose replacement was killed gets its name back.
        remove_leftovers(self.folder)
        run = RunFolder(self.run_path(stem, spec))
        if not (run.path / HEADER_FILE).is_file():
            return None
        if run.damage:
            raise IncompleteError(run.damage)
        return run

    def run_path(self, stem: str, spec: RunSpec) -> Path:
        """Return the path of the folder of a run, which need not exist; a renamed run keeps the key of its spec."""
        key = spec.fingerprint()[:8]
        path = self.folder / file_name(stem, key)
        spec_files = () if path.exists() else sorted(self.folder.glob(f"[!.]*-{key}/{SPEC}"))
        return next((file.parent for file in spec_files if _is_spec(file, spec)), path)

    def comparable_runs(self, target: str | None = None) -> list[RunFolder]:
        """Return the finished runs of one target, or of all, as `runs` does; empty where it raises IncompleteError.

        This is the case without runs of the current data, and without an extraction of the current recipe.
        """
        try:
            return self.runs(target)
        except IncompleteError:
            return []

    def run_folders(self) -> list[RunFolder]:
        """Return all finished runs of the study, whatever their state, by name."""
        paths = [path.parent for path in sorted(self.folder.glob("[!.]*/header.json"))]
        return [self._run_folder(path) for path in paths if self.run_names is None or path.name in self.run_names]

    def _run_folder(self, path: Path) -> RunFolder:
        """Return the folder of a run; its checksums are verified once, and again only if a file changes."""
        files = tuple(sorted(str(file_state(file)) for file in path.iterdir()))
        if path not in self._read_runs or self._read_runs[path][0] != files:
            self._read_runs[path] = files, RunFolder(path)
        return self._read_runs[path][1]

    @cached_property
    def _read_runs(self) -> dict[Path, tuple[tuple[str, ...], RunFolder]]:
        return {}

    def damaged(self) -> list[RunFolder]:
        """Return the finished runs with a missing or changed file; `RunFolder.damage` names the file.

        Runs that do not match the current data anyway are left out.
        """
        return [run for run in self.run_folders() if run.damage and not self._is_known_stale(run)]

    def _is_known_stale(self, run: RunFolder) -> bool:
        """Return whether a damaged run does not match the current data, as far as its intact files show."""
        try:
            return bool(self._why_stale(run, self.split_fingerprint(), self.target_names()))
        except FeatxError:
            return False

    def reasons_left_out(self) -> dict[str, str]:
        """Return the reason why `runs` leaves out each finished run, by name; empty for those that it returns."""
        folders = self.run_folders()
        stale_reasons = self._reasons(
            [run for run in folders if not run.damage], self.split_fingerprint(), self.target_names()
        )
        return {run.name: run.damage or stale_reasons[run.name] for run in folders}

    def runs(
        self, target: str | None = None, names: Sequence[str] | str | None = None, with_refits: bool = False
    ) -> list[RunFolder]:
        """Return the finished runs that match the current split and labels of the recipe, oldest first.

        Damaged runs, and ensembles whose members were removed or made again, are left out.

        Parameters
        ----------
        target
            Return only runs of this target.
        names
            Return only runs with these names, beginnings of names, or labels (`featx.study.run_settings`).
        with_refits
            Whether refitted runs may be named, by default False: no rows are left to score them on.

        Raises
        ------
        IncompleteError
            There are none.
        DataError
            A name matches no run.
        """
        split, folders = self.split_fingerprint(), self.run_folders()
        damaged_runs, intact_runs = self.damaged(), [run for run in folders if not run.damage]
        stale_reasons = self._reasons(intact_runs, split, self.target_names(target))
        if not with_refits or names is None:
            stale_reasons |= {run.name: _refit_reason(run) for run in intact_runs if run.refit_of is not None}
        current_runs = [run for run in intact_runs if not stale_reasons[run.name]]
        if names is not None:
            names = as_tuple(names)
            labels = label_runs({run.name: run.spec for run in current_runs if run.refit_of is None})
            for name in names:
                if damaged_matches := [run for run in damaged_runs if run.name.startswith(name)]:
                    raise IncompleteError(damaged_matches[0].damage)
                if not any(run.name.startswith(name) or labels.get(run.name) == name for run in current_runs):
                    run_labels = typed_names([run.name for run in current_runs], labels) or ["none"]
                    reasons = [stale_reasons[run.name] for run in intact_runs if run.name.startswith(name)]
                    reason = reasons[0] if reasons else f"no finished run is called {name!r}"
                    hint = suggest_names(name, run_labels, title="runs on this split")
                    elsewhere = "" if current_runs else describe_outer_runs(self.recipe)
                    raise DataError("; ".join(filter(None, (reason, hint, elsewhere))))
            stems = {run.name: run.spec.stem for run in current_runs}
            run_names = {run for name in names for run in find_called(name, stems, labels)}
            current_runs = [run for run in current_runs if run.name in run_names]
        if not current_runs:
            if damaged_runs:
                raise IncompleteError(damaged_runs[0].damage)
            count_text = "1 other" if len(intact_runs) == 1 else f"{len(intact_runs)} others, the first"
            stale_text = (
                f" for the current data ({count_text}: {stale_reasons[intact_runs[0].name]})" if intact_runs else ""
            )
            next_step = describe_outer_runs(self.recipe) or "run 'featx fit' or 'featx finetune' first"
            raise IncompleteError(
                f"{self.folder} has no finished run{stale_text}; {next_step}{describe_preset_runs(self.recipe)}"
            )
        return sorted(current_runs, key=lambda run: run.metrics.finished)

    def _reasons(self, runs: Sequence[RunFolder], split: str, targets: Sequence[str]) -> dict[str, str]:
        """Return the reason why each run is stale, by name; a run is stale if one of its members is."""
        runs_by_name = {run.name: run for run in runs}
        reasons: dict[str, str] = {}

        def reason(run: RunFolder) -> str:
            if run.name not in reasons:
                reasons[run.name] = self._why_stale(run, split, targets)
                if not reasons[run.name] and any(
                    reason(runs_by_name[name]) for name in run.members if name in runs_by_name
                ):
                    reasons[run.name] = _changed_members(run)
            return reasons[run.name]

        return {run.name: reason(run) for run in runs}

    def _why_stale(self, run: RunFolder, split: str, targets: Sequence[str]) -> str:
        """Return why a finished run does not match the current data; empty if it does."""
        spec = run.spec
        if spec.target not in targets:
            return f"{run.name} predicts target {spec.target!r}, expected {' or '.join(map(repr, targets))}"
        if spec.rules != RULES[run.kind]:
            return f"{run.name} was made by another version of featx"
        if spec.train.split != split:
            return f"{run.name} {WHAT_CHANGED['split']}"
        changed_fields = _changed_fields(spec.train, self._train_state(spec.target, spec.train.group_columns))
        if isinstance(spec, HeadRunSpec) and spec.refit is not None:
            changed_fields += _changed_fields(spec.refit.val, self.val_state(spec.target))
        if isinstance(spec, EnsembleRunSpec | NetworkRunSpec) and spec.val is not None:
            changed_fields += _changed_fields(spec.val, self.val_state(spec.target))
        if changed_fields:
            return f"{run.name} {WHAT_CHANGED[changed_fields[0]]}"
        return "" if run.has_all_members else _changed_members(run)

    def _train_state(self, target: str, group_columns: tuple[str, ...]) -> TrainState:
        if (target, group_columns) not in self._states:
            self._states[target, group_columns] = self.train_state(target, group_columns)
        return self._states[target, group_columns]

    @cached_property
    def _states(self) -> dict[tuple[str, tuple[str, ...]], TrainState]:
        return {}

    def open_test(self, target: str, runs: Sequence[str], user: str | None = None) -> AnyTruth:
        """Return the labels of the test split, and log the name, the time and the runs.

        Parameters
        ----------
        user
            The name to log; by default a hash of the login name, because reports show it.

        Raises
        ------
        DataError
            The split has no test rows.
        """
        ids = self.ids("test")
        if not len(ids):
            raise DataError("the split has no test rows; set 'split.test = 0.2' or provide a test part")
        opening = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": user or _hashed_login(),
            "target": target,
            "runs": list(runs),
        }
        OpeningLog(self.folder).append(opening, self._seals_of_scores())
        return self._known(target).take(ids)

    def open_all_labels(self, target: str, runs: Sequence[str]) -> AnyTruth:
        """Return the labels of all rows, and log that the test split was opened (`open_test`)."""
        self.open_test(target, runs)
        return self._known(target).take(np.concatenate([self.ids(part) for part in ("train", "val", "test")]))

    def openings(self, target: str | None = None) -> list[dict[str, Any]]:
        """Return the log of openings of the test split."""
        openings = OpeningLog(self.folder).openings
        return [opening for opening in openings if target is None or opening["target"] == target]

    def log_problems(self) -> list[str]:
        """Return the problems of the log of openings; empty if it is complete."""
        return OpeningLog(self.folder).problems(self._seals_of_scores())

    def _seals_of_scores(self) -> list[str]:
        """Return the seals of the openings that the files of test scores name."""
        seals = []
        for file in self.folder.glob("final-*.json"):
            with suppress(IncompleteError, KeyError):
                seals.append(str(read_sealed(file)["opening"]))
        return seals


def _is_spec(file: Path, spec: RunSpec) -> bool:
    try:
        return read_sealed(file) == spec.identity()
    except IncompleteError:
        return False


def _changed_members(run: RunFolder) -> str:
    is_smoothed = run.kind == "smoothed"
    return (
        f"{run.name} {'smooths a run that has' if is_smoothed else 'is an ensemble whose members have'} changed since"
    )


def _refit_reason(run: RunFolder) -> str:
    return f"{run.name} is a refit, which is not scored itself; its scores are those of {run.refit_of}"


def _changed_fields(recorded_state: TrainState | ValState, current_state: TrainState | ValState) -> list[str]:
    """Return the names of the fields in which the recorded state of the data differs from the current one."""
    return [
        name
        for name in type(current_state).model_fields
        if getattr(recorded_state, name) != getattr(current_state, name)
    ]


def _hashed_login() -> str:
    """Return ``user`` and 8 hex digits that distinguish the users of one machine and do not name them."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have a number and no name
        login = f"uid {os.getuid()}"
    return f"user {fingerprint([login, machine_id()])[:8]}"
