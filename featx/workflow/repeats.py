"""The whole protocol again over other cuts of train and val: how far a score moves, and which differences outlive that.

::

    runs/<recipe>/repeats/01/            a study of its own: manifest, outcomes and embeddings are the recipe's
                            /split.parquet   test as it is, val cut anew
                            /<run>/          heads, networks and votes made for it
                            /scores.json     the repeat is done
"""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, IncompleteError
from featx.evaluation.paired_tests import corrected_t, holm
from featx.files.atomic import write_table
from featx.files.seals import read_sealed, write_sealed
from featx.metrics.definitions import LESS_IS_BETTER
from featx.metrics.scores import score
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.recipe import CHECKPOINT, Recipe
from featx.study.embedding_lock import EMBEDDINGS
from featx.study.extraction_tables import seal_extraction
from featx.study.near_copy_table import COPIES, COPIES_STATE
from featx.study.run_folder import RULES, RunFolder
from featx.study.splits import held_out
from featx.study.study import Study
from featx.tables.encoding import strata
from featx.workflow.stages import make_runs

# Written for the recipe, and used by all its repeats.
LEFT = ("manifest.parquet", "outcomes.parquet", EMBEDDINGS, "source.json", COPIES, COPIES_STATE)
# Fields of a run's spec that differ between repeats.
OF_THE_SPLIT = ("split", "units", "labels", "group_values", "val_labels", "val_units", "members")
FEWEST = 2


@dataclass(frozen=True)
class RepeatedRun:
    """One kind of run over all repeats.

    Attributes
    ----------
    scores
        On val, one a repeat; nan where it was not made.
    mean, sd
        Of these.
    difference
        Of the mean from the best one's; 0 of the best.
    p
        That it is the best one's equal: corrected resampled t-test, Holm-corrected over the runs; nan for the best.
    """

    run: str
    scores: list[float]
    mean: float
    sd: float
    difference: float
    p: float


@dataclass(frozen=True)
class Repeats:
    """All runs of one target over repeated cuts of train and val.

    Attributes
    ----------
    rows
        Best mean first.
    n_train, n_val
        Rows of each repeat, on average.
    """

    target: str
    metric: str
    n_repeats: int
    n_train: float
    n_val: float
    rows: list[RepeatedRun]


def repeat(
    recipe: str | Path | Recipe | None,
    n_repeats: int,
    *,
    engine: EngineSpec | None = None,
    progress: ProgressCallback = no_progress,
) -> list[Repeats]:
    """Make all runs of an extracted recipe again over other cuts of train and val; return a table a target.

    Parameters
    ----------
    n_repeats
        2 or more; those that are done are not done again.

    Raises
    ------
    DataError
        there are too few repeats, no val rows, or embeddings by a network that learnt from this recipe's train rows.
    IncompleteError
        nothing has been extracted yet.

    Notes
    -----
    The test split stays what it is, and sealed. The p-values are those of Nadeau and Bengio with n_val / n_train as it
    is: cuts that overlap tell less than as many new images would.
    """
    study = Study.open(recipe)
    _check(study, n_repeats)
    find_near_copies(study, progress)
    if cost := cost_text(study, n_repeats):
        progress("note", 0, 1, cost)
    done = []
    for number in range(1, n_repeats + 1):
        progress("repeat", number - 1, n_repeats)
        done.append(_repeated(study, number, engine, progress))
    progress("repeat", n_repeats, n_repeats)
    return [compared(target, [one["targets"][target] for one in done]) for target in study.recipe.targets]


def _check(study: Study, n_repeats: int) -> None:
    if n_repeats < FEWEST:
        raise DataError(f"--repeats: found {n_repeats}, expected {FEWEST} or more: one repeat has no spread")
    if not len(study.ids("val")):
        raise DataError("the split has no val rows to cut anew; say 'split.val = 0.15'")
    recipe = study.recipe
    backbones = [one.backbone for one in recipe.requests]
    backbones += [one.backbone for section in recipe.finetune for one in section.runs]
    if learnt := [name for name in backbones if name.startswith(CHECKPOINT)]:
        raise DataError(
            f"backbone {learnt[0]!r} may have learnt from rows that a repeat has in val; repeat a recipe without it"
        )


def cost_text(study: Study, n_repeats: int) -> str:
    """Say what repeats will take, by what the recipe's finished runs took; nothing where nothing is known or left."""
    seconds: dict[str, float] = {}
    for target in study.recipe.targets:
        for run in study.runs(target) if study.has_runs(target) else []:
            took = run.metrics.get("search_s", 0.0) + run.metrics.get("train_s", 0.0)
            seconds[run.kind] = seconds.get(run.kind, 0.0) + took
    left = sum(_done(study, number) is None for number in range(1, n_repeats + 1))
    if not (seconds and left):
        return ""
    each = " and ".join(f"{_duration(took)} of {kind}s" for kind, took in seconds.items() if took)
    return f"{left} repeats to make, about {_duration(left * sum(seconds.values()))} in all: {each} in each"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# One repeat


def _own(study: Study, number: int) -> Study:
    """Return the study that a repeat is."""
    return Study(study.recipe.model_copy(update={"name": f"{study.recipe.name}/repeats/{number:02}"}))


def _done(study: Study, number: int) -> dict[str, Any] | None:
    """Return the scores of a repeat that is done, and with the data, labels and recipe as they are."""
    file = _own(study, number).folder / "scores.json"
    try:
        found = read_sealed(file)
    except IncompleteError:
        # It is not there yet, or it was changed and is made again.
        return None
    return found if found.get("state") == _state(study, number) else None


def _repeated(study: Study, number: int, engine: EngineSpec | None, progress: ProgressCallback) -> dict[str, Any]:
    """Return a repeat's scores, made where they are not there yet."""
    if done := _done(study, number):
        return done
    own = _own(study, number)
    _prepare(study, number, own.folder)
    runs = _run_all(own.recipe, engine, progress)
    made = {"state": _state(study, number), "targets": {name: _scores(own, name, runs) for name in own.recipe.targets}}
    write_sealed(own.folder / "scores.json", made)
    return made


def _state(study: Study, number: int) -> str:
    """Return what a repeat depends on."""
    recipe = study.recipe
    columns = sorted(set(recipe.groups.values()))
    data = [[study.training_state(name, columns), study.choosing_state(name)] for name in recipe.targets]
    stages = [*recipe.head, *recipe.finetune, recipe.ensemble, recipe.split]
    embeddings = [one.spec.fingerprint() for one in study.locked]
    asked = [[one.identity() for one in stages], dict(recipe.groups), embeddings]
    return fingerprint([number, RULES, data, asked])


def _prepare(study: Study, number: int, folder: Path) -> None:
    """Write what extract would leave, with another cut of train and val."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LEFT:
        if (study.folder / name).is_file():
            shutil.copy(study.folder / name, folder)
    parts = study.split.mask(study.split.index.isin(_free(study)), "train")
    parts = parts.mask(parts.index.isin(_cut(study, number)), "val")
    write_table(folder / "split.parquet", parts.rename_axis("id").rename("part").reset_index())
    write_sealed(folder / "split.json", study.split_state())
    seal_extraction(folder)


def _free(study: Study) -> NDArray[Any]:
    """Return the ids that may change their part."""
    return np.concatenate([study.ids("train"), study.ids("val")])


def _cut(study: Study, number: int) -> NDArray[Any]:
    """Return the val rows of a repeat: as many as there are, cut by the recipe's own rules with another seed."""
    ids, spec = _free(study), study.recipe.split
    rows = study.manifest_of(ids)
    name, target = next(iter(study.recipe.targets.items()))
    codes = strata(rows, name, target).codes if spec.stratify else None
    n_val = len(study.ids("val"))
    return held_out(ids, n_val, codes, study.groups(ids), spec.seed + number, "repeats")


def _run_all(recipe: Recipe, engine: EngineSpec | None, progress: ProgressCallback) -> list[RunFolder]:
    """Make all runs that a recipe names."""
    made = [one for _, runs in make_runs(recipe, engine=engine, progress=progress) for one in runs]
    return [RunFolder(Path(one.path)) for one in made if one.path]  # a search's stopped ones have none


def _scores(study: Study, target: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    known = study.labels(target)
    metric = study.metric(target)
    sign = -1 if metric in LESS_IS_BETTER else 1
    named = dict(_named([run for run in runs if run.spec["target"] == target]))
    values = {name: sign * score(metric, known, run.answers.of("val")) for name, run in named.items()}
    sizes = {f"n_{part}": len(study.ids(part)) for part in ("train", "val")}
    return {"metric": metric, **sizes, "scores": values}


def _named(runs: Sequence[RunFolder]) -> Iterator[tuple[str, RunFolder]]:
    """Yield runs with names that are theirs in every repeat: how they begin, and where that is not enough, what of."""
    stems = [run.name.rpartition("-")[0] for run in runs]
    for stem, run in zip(stems, runs, strict=True):
        own = {key: value for key, value in run.spec.items() if key not in OF_THE_SPLIT}
        yield stem if stems.count(stem) == 1 else f"{stem}-{fingerprint(own)[:8]}", run


# All of them


def compared(target: str, repeats: Sequence[Mapping[str, Any]]) -> Repeats:
    """Return the runs of one target over all repeats, each tested against the best."""
    metric = repeats[0]["metric"]
    names = dict.fromkeys(name for one in repeats for name in one["scores"])
    table = {name: np.array([one["scores"].get(name, np.nan) for one in repeats]) for name in names}
    sign = -1 if metric in LESS_IS_BETTER else 1
    whole = [name for name, values in table.items() if np.isfinite(values).all()]
    order = sorted(table, key=lambda name: (name not in whole, -sign * _mean(table[name])))
    n_train, n_val = (float(np.mean([one[f"n_{part}"] for one in repeats])) for part in ("train", "val"))
    best = table[order[0]]
    tested = [
        corrected_t(best - table[name], n_val / n_train) if name in whole and name != order[0] else math.nan
        for name in order
    ]
    rows = [
        RepeatedRun(name, table[name].tolist(), _mean(table[name]), _sd(table[name]), _mean(table[name] - best), p)
        for name, p in zip(order, holm(tested), strict=True)
    ]
    return Repeats(target, metric, len(repeats), n_train, n_val, rows)


def _mean(values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _sd(values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan
