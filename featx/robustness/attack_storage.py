"""Files of attacks: one table of results for each attack on each run, written batch by batch, and examples.

::

    runs/<recipe>/attacks/<target>/<attack>-<run>-<key>.json      what was attacked, written last
                                                       .parquet   one row for each image and evaluated run
                                                       .examples.parquet   some images before and after
                                                       .parts/    results of finished batches of an unfinished attack
                                  /checks-<run>-<key>.json        outcomes of the sanity checks of a run

The names of files depend on all that their content depends on, so that a file is never out of date for its name.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from featx.errors import IncompleteError
from featx.file_names import file_name
from featx.files.atomic import file_sha256, read_json_as, read_table, write_table
from featx.files.seals import read_sealed, write_sealed
from featx.specs.attacking import AttackSpec
from featx.specs.base import fingerprint

FOLDER = "attacks"
# A difference of this many images is no evidence: paths of few and of many steps differ.
MAX_CHANCE = 1
# The failure of a check that results of whole attacks can show too.
SEARCH_IS_STRONGER = "a search without gradients succeeds more often than gradients"
# Version of the attacks and of their files; results of another version are not used.
ATTACKS_VERSION = 3
NEXT_STEP = "remove it and run 'featx attack'"
EXAMPLE_COLUMNS = ("id", "original", "difference", "attacked")


class StoredAttack(BaseModel):
    """Description of a finished attack: what was attacked, and when.

    Attributes
    ----------
    version
        Version of the attacks.
    spec
        The attack.
    has_limit, needs_gradient
        As in `featx.robustness.attacks.attack_method.AttackMethod`.
    part, n_rows
        Part of the split, and number of its rows, of which the attacked ones are a sample.
    source
        Name of the attacked run.
    runs
        Name of a run that predicted the images → key of its files (`run_key`).
    has_gradient
        Name of a run that predicted the images → whether attacks use its exact gradient.
    height_px, width_px
        Size of the attacked pictures.
    pixels_key
        Fingerprint of the attacked pixels, and of the contents and true values of the images.
    sha256
        SHA-256 of the table.
    written
        Time in UTC.
    """

    version: int
    spec: AttackSpec
    has_limit: bool
    needs_gradient: bool
    part: str
    n_rows: int
    source: str
    runs: dict[str, str]
    has_gradient: dict[str, bool]
    height_px: int
    width_px: int
    pixels_key: str
    sha256: str = ""
    written: str = ""


class CheckOutcomes(BaseModel):
    """Outcomes of the checks of one run.

    Attributes
    ----------
    version
        Version of the attacks.
    run, key
        Name of the run, and the key of its files (`run_key`).
    pixels_key
        Fingerprint of the images, as in `StoredAttack`.
    norm, eps
        Limit of the perturbations.
    n_checks
        Number of checks that were made; fewer if the run has no exact gradients.
    failures
        A sentence for each check that failed: reasons why robust accuracies of the run cannot be trusted.
    """

    version: int
    run: str
    key: str
    pixels_key: str
    norm: str
    eps: float
    n_checks: int
    failures: list[str]


@dataclass(frozen=True)
class AttackFiles:
    """The files of one attack on one run.

    Attributes
    ----------
    stem
        Path of all files without what distinguishes them.
    """

    stem: Path

    @classmethod
    def of(cls, folder: Path, content: StoredAttack) -> "AttackFiles":
        """Return the files of an attack; their name depends on all that their content depends on."""
        key = fingerprint(content.model_dump(mode="json", exclude={"written", "sha256"}))[:12]
        return cls(folder / file_name(f"{content.spec.method}-{content.spec.norm}-{content.source}", key))

    @property
    def header(self) -> Path:
        """Path of the description, which exists if the attack is finished."""
        return self._path(".json")

    @property
    def table(self) -> Path:
        """Path of the table of results."""
        return self._path(".parquet")

    @property
    def examples(self) -> Path:
        """Path of the table of examples."""
        return self._path(".examples.parquet")

    @property
    def parts(self) -> Path:
        """Path of the folder of finished batches."""
        return self._path(".parts")

    def _path(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)

    @property
    def is_finished(self) -> bool:
        """Whether the attack is finished."""
        return self.header.is_file()

    def write_part(self, start: int, stop: int, rows: pd.DataFrame) -> None:
        """Write the results of one batch, those of images `start` … `stop` - 1."""
        self.parts.mkdir(parents=True, exist_ok=True)
        write_table(self.parts / f"{start:06d}-{stop:06d}.parquet", rows)

    def finished_parts(self) -> Iterator[tuple[int, int, Path]]:
        """Yield start, stop and path of the batches that are finished without a gap from the first image on."""
        end = 0
        for path in sorted(self.parts.glob("[0-9]*-[0-9]*.parquet")):
            start, stop = map(int, path.stem.split("-"))
            if start == end:
                yield start, stop, path
                end = stop

    @property
    def n_finished(self) -> int:
        """Number of images in the batches that are finished without a gap."""
        return max((stop for _, stop, _ in self.finished_parts()), default=0)

    def finish(self, content: StoredAttack) -> None:
        """Join the batches into one table, and write the description last."""
        frames = [read_table(path, NEXT_STEP) for _, _, path in self.finished_parts()]
        write_table(self.table, pd.concat(frames, ignore_index=True))
        update = {"sha256": file_sha256(self.table), "written": datetime.now(UTC).isoformat(timespec="milliseconds")}
        write_sealed(self.header, content.model_copy(update=update).model_dump(mode="json"))
        shutil.rmtree(self.parts, ignore_errors=True)

    def read(self) -> tuple[StoredAttack, pd.DataFrame]:
        """Return the description and the table of results.

        Raises
        ------
        IncompleteError
            a file is missing, damaged or changed.
        """
        content = read_sealed(self.header, NEXT_STEP, StoredAttack)
        return content, read_table(self.table, NEXT_STEP, ("id", "run", "digest"), content.sha256)

    def read_examples(self) -> pd.DataFrame:
        """Return the table of examples; without rows if no attack succeeded."""
        if not self.examples.is_file():
            return pd.DataFrame({name: [] for name in EXAMPLE_COLUMNS})
        return read_table(self.examples, NEXT_STEP, EXAMPLE_COLUMNS)

    def write_examples(self, examples: pd.DataFrame) -> None:
        """Write the table of examples."""
        write_table(self.examples, examples)


def checks_file(folder: Path, run: str, key: str) -> Path:
    """Return the file of the sanity checks of a run."""
    return folder / f"checks-{file_name(run, key)}.json"


def stored_checks(folder: Path) -> list[CheckOutcomes]:
    """Return the outcomes of all sanity checks in a folder that were made by this version of the attacks."""
    checks = []
    for path in sorted(folder.glob("checks-*.json")):
        # Files of other versions have other fields; for a damaged one a note asks for 'featx attack', which names it.
        with suppress(IncompleteError):
            checks.append(read_json_as(path, CheckOutcomes))
    return [outcomes for outcomes in checks if outcomes.version == ATTACKS_VERSION]


def stored_attacks(folder: Path) -> list[AttackFiles]:
    """Return the files of all finished attacks in a folder."""
    names = (path for path in sorted(folder.glob("*.json")) if not path.name.startswith("checks-"))
    return [AttackFiles(path.with_suffix("")) for path in names]
