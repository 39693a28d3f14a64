"""What lies where: the cache, and one folder a recipe under ``runs/`` with what has been made for it.

::

    cache/<backbone>-<fingerprint>.zarr      one embedding, shared by all recipes
    runs/<recipe>/manifest.parquet           all images with their labels and digests
                 /split.parquet              the part of each
                 /outcomes.parquet           what became of each
                 /source.json, split.json    what they were made from
                 /extraction.json            their checksums, written last
                 /embeddings.lock.json       what was asked → the resolved specs
                 /looks.jsonl                every opening of the sealed test split (`featx.study.test_log`)
                 /report.html
                 /<run>/                     one finished run, written whole

Labels of the test split leave this module only through `Study.open_test`, which logs the look.
"""

import getpass
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from featx.errors import DataError, IncompleteError
from featx.file_names import file_name
from featx.files.atomic import file_state, machine, whole_folder
from featx.files.seals import read_sealed, write_sealed
from featx.specs.base import fingerprint
from featx.specs.recipe import Recipe, load_recipe
from featx.storage.leases import remove_leftovers
from featx.study.labelled_rows import LabelledRows
from featx.study.run_folder import RULES, RunFolder
from featx.study.test_log import OpeningLog
from featx.tables.truth import Known

WHAT_CHANGED = {
    "target": "answers another target",
    "split": "was made on other images or another split",
    "units": "was made with other groups or copies",
    "labels": "learnt from other labels or weights",
    "group_columns": "was weighted by other groups",
    "group_values": "was weighted by other groups",
    "val_labels": "learnt from other val labels",
    "val_units": "was made with other groups or copies in val",
}


@dataclass(frozen=True)
class Study(LabelledRows):
    """A recipe with all that has been made for it: extracted data, finished runs, the log of test scores."""

    @classmethod
    def open(cls, recipe: str | Path | Recipe | None) -> "Study":
        """Read the recipe (`featx.specs.recipe.find_recipe` says which)."""
        return cls(load_recipe(recipe))

    def run_once(
        self, stem: str, asked: dict[str, Any], force: bool, make: Callable[[Path], None]
    ) -> tuple[RunFolder, bool]:
        """Return the run that answers `asked`, and whether it was made just now.

        Parameters
        ----------
        stem
            How the run's name begins, made safe by `featx.file_names`; the fingerprint of `asked` ends it.
        force
            Make it again where it is there.
        make
            Fills the run's folder, ``spec.json`` left out.

        Raises
        ------
        IncompleteError
            The run is there and is damaged.
        """
        folder = self._run_path(stem, asked)
        made = force or self.find_run(stem, asked) is None
        if made:
            remove_leftovers(self.folder)
            with whole_folder(folder) as private:
                make(private)
                write_sealed(private / "spec.json", asked)
        run = RunFolder(folder)
        if not made and run.damage:
            raise IncompleteError(run.damage)
        return run, made

    def _run_path(self, stem: str, asked: dict[str, Any]) -> Path:
        return self.folder / file_name(stem, fingerprint(asked)[:8])

    def find_run(self, stem: str, asked: dict[str, Any]) -> RunFolder | None:
        """Return the run that `run_once` would, if it has been made."""
        folder = self._run_path(stem, asked)
        return RunFolder(folder) if (folder / "header.json").is_file() else None

    def has_runs(self, target: str) -> bool:
        """Whether `runs` finds some of a target."""
        try:
            return bool(self.runs(target))
        except IncompleteError:
            return False

    def _run_folders(self) -> list[RunFolder]:
        return [self._run_folder(path.parent) for path in sorted(self.folder.glob("[!.]*/header.json"))]

    def _run_folder(self, path: Path) -> RunFolder:
        """Return a run's folder; its files are read and compared with their checksums once until one changes."""
        files = tuple(sorted(str(file_state(file)) for file in path.iterdir()))
        if path not in self._read_runs or self._read_runs[path][0] != files:
            self._read_runs[path] = files, RunFolder(path)
        return self._read_runs[path][1]

    @cached_property
    def _read_runs(self) -> dict[Path, tuple[tuple[str, ...], RunFolder]]:
        return {}

    def damaged(self) -> list[RunFolder]:
        """Return the finished runs of which a file is missing, cut short or edited; `RunFolder.damage` says which."""
        return [run for run in self._run_folders() if run.damage]

    def runs(self, target: str | None = None, names: Sequence[str] | None = None) -> list[RunFolder]:
        """Return the finished runs that the recipe's current split and labels allow to compare, oldest first.

        Ensembles whose members have been removed or made again since are left out, and so are `damaged` runs.

        Parameters
        ----------
        target
            Only those of one target.
        names
            Only those with these names, or whose names begin so.

        Raises
        ------
        IncompleteError
            there are none.
        DataError
            a name fits none.
        """
        split, folders = self.split_fingerprint(), self._run_folders()
        damaged, every = [run for run in folders if run.damage], [run for run in folders if not run.damage]
        stale = self._reasons(every, split, self.target_names(target))
        fitting = [run for run in every if not stale[run.name]]
        if names is not None:
            for name in names:
                if broken := [run for run in damaged if run.name.startswith(name)]:
                    raise IncompleteError(broken[0].damage)
                if not any(run.name.startswith(name) for run in fitting):
                    known = ", ".join(run.name for run in fitting) or "none"
                    others = [stale[run.name] for run in every if run.name.startswith(name)]
                    reason = others[0] if others else f"no finished run is called {name!r}"
                    raise DataError(f"{reason}; runs on this split: {known}")
            fitting = [run for run in fitting if any(run.name.startswith(name) for name in names)]
        if not fitting:
            if damaged:
                raise IncompleteError(damaged[0].damage)
            left_out = f" of today's data ({len(every)} others: {stale[every[0].name]})" if every else ""
            raise IncompleteError(
                f"{self.folder} has no finished run{left_out}; run 'featx fit' or 'featx finetune' first"
            )
        return sorted(fitting, key=lambda run: run.metrics["finished"])

    def _reasons(self, runs: Sequence[RunFolder], split: str, targets: Sequence[str]) -> dict[str, str]:
        """Return why each run is stale, by name; an ensemble is as well if one of its members is."""
        by_name = {run.name: run for run in runs}
        reasons: dict[str, str] = {}

        def reason(run: RunFolder) -> str:
            if run.name not in reasons:
                reasons[run.name] = self._why_stale(run, split, targets)
                if not reasons[run.name] and any(reason(by_name[name]) for name in run.members if name in by_name):
                    reasons[run.name] = f"{run.name} is an ensemble of runs that have changed since"
            return reasons[run.name]

        return {run.name: reason(run) for run in runs}

    def _why_stale(self, run: RunFolder, split: str, targets: Sequence[str]) -> str:
        """Say why a finished run cannot be compared with those of today's data; empty where it can."""
        if run.is_unsealed:
            return f"{run.name} was made by another version of featx"
        own = run.spec["target"]
        if own not in targets:
            return f"{run.name} answers target {own!r}, expected {' or '.join(map(repr, targets))}"
        if run.spec.get("rules") != RULES.get(run.kind):
            return f"{run.name} was made by another version of featx"
        if run.spec["split"] != split:
            return f"{run.name} {WHAT_CHANGED['split']}"
        current = self._training_state(own, tuple(run.spec.get("group_columns", ())))
        if run.is_ensemble:
            current = current | self.choosing_state(own)
        changed = [key for key, value in current.items() if run.spec.get(key) != value]
        if changed:
            return f"{run.name} {WHAT_CHANGED[changed[0]]}"
        return "" if run.has_all_members else f"{run.name} is an ensemble of runs that have changed since"

    def _training_state(self, target: str, group_columns: tuple[str, ...]) -> dict[str, Any]:
        if (target, group_columns) not in self._states:
            self._states[target, group_columns] = self.training_state(target, group_columns)
        return self._states[target, group_columns]

    @cached_property
    def _states(self) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
        return {}

    def open_test(self, target: str, runs: Sequence[str], who: str | None = None) -> Known:
        """Return the labels of the test split, and log who looked, when, and at which runs.

        Parameters
        ----------
        who
            The name to log; by default a hash of the login name, since reports show it.

        Raises
        ------
        DataError
            the split has no test rows.
        """
        ids = self.ids("test")
        if not len(ids):
            raise DataError("the split has no test rows; say 'split.test = 0.2' or give a test part")
        look = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "who": who or _hashed_login(),
            "target": target,
            "runs": list(runs),
        }
        OpeningLog(self.folder).append(look)
        return self._known(target).take(ids)

    def looks(self, target: str | None = None) -> list[dict[str, Any]]:
        """Return the log of openings of the test split."""
        looks = OpeningLog(self.folder).openings
        return [look for look in looks if target is None or look["target"] == target]

    def log_problems(self) -> list[str]:
        """Return what is wrong with the log of openings; empty where it is complete."""
        seals = []
        for file in self.folder.glob("final-*.json"):
            with suppress(IncompleteError, KeyError):
                seals.append(str(read_sealed(file)["opening"]))
        return OpeningLog(self.folder).problems(seals)


def _hashed_login() -> str:
    """Return ``user`` and 8 hex digits that tell the users of one machine apart and do not name them."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have a number and no name
        login = f"uid {os.getuid()}"
    return f"user {fingerprint([login, machine()])[:8]}"
