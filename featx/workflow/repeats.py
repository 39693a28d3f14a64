"""Repeats of the whole protocol on other train/val splits: the spread of scores, and tests of differences.

::

    runs/<recipe>/repeats/01/            a separate study with the recipe's manifest, outcomes and embeddings
                            /split.parquet   the same test part, another val part
                            /<run>/          heads, networks and ensembles of this repeat
                            /scores.json     the scores; written last
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, IncompleteError
from featx.evaluation.paired_tests import corrected_t_test, holm
from featx.files.seals import read_sealed, write_sealed
from featx.metrics.definitions import find_score
from featx.metrics.scores import compared_score, score
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import N_SEEDS, fingerprint
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.specs.extraction import EngineSpec
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.run_spec import RULES
from featx.study.study import Study
from featx.study.unit_cuts import held_out
from featx.tables.encoding import strata
from featx.text.durations import duration_text
from featx.workflow.resplit_study import write_split_tables
from featx.workflow.stages import make_runs
from featx.workflow.training_inputs import recipe_embeddings, training_inputs

MIN_REPEATS = 2


@dataclass(frozen=True)
class RepeatedRun:
    """The scores of one run over all repeats.

    Attributes
    ----------
    run
        Name of the run without its fingerprint, so that it is the same in all repeats; where several runs share it,
        each ends in the fingerprint of its settings.
    scores
        The val score of each repeat; nan if the run does not exist there.
    mean, sd
        Mean and standard deviation of the scores.
    difference
        The difference of the mean to the best mean; 0 for the best run.
    p
        The p-value of the corrected resampled t-test against the best run, after Holm's correction for all pairs of
        runs; nan for the best run.
    """

    run: str
    scores: list[float]
    mean: float
    sd: float
    difference: float
    p: float


@dataclass(frozen=True)
class Repeats:
    """The runs of one target over repeated train/val splits.

    Attributes
    ----------
    target
        Name of the target.
    metric
        Name of the score.
    n_repeats
        Number of repeats.
    n_train, n_val
        Mean number of train and val rows of the repeats.
    rows
        The runs, best mean first.
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
    """Repeat all runs of an extracted recipe on other train/val splits, and return one result per target.

    Parameters
    ----------
    n_repeats
        The number of repeats, at least 2. Finished repeats are reused.

    Raises
    ------
    DataError
        There are too few repeats, no val rows, or embeddings of a network that was trained on this recipe's train
        rows.
    IncompleteError
        Nothing has been extracted yet.

    Notes
    -----
    The test split stays the same, and sealed. The p-values follow Nadeau and Bengio (2003) with the actual
    n_val / n_train: overlapping splits carry less information than independent samples.
    """
    study = Study.open(recipe)
    _check(study, n_repeats)
    find_near_copies(study, progress)
    if cost := cost_text(study, n_repeats):
        progress("note", 0, 1, cost)
    scores_of_repeats = []
    for number in range(1, n_repeats + 1):
        progress("repeat", number - 1, n_repeats)
        scores_of_repeats.append(_repeated(study, number, engine, progress))
    progress("repeat", n_repeats, n_repeats)
    return [
        compared(target, [scores["targets"][target] for scores in scores_of_repeats]) for target in study.recipe.targets
    ]


def _check(study: Study, n_repeats: int) -> None:
    if n_repeats < MIN_REPEATS:
        raise DataError(f"--repeats: found {n_repeats}, expected {MIN_REPEATS} or more: a standard deviation needs two")
    if not len(study.ids("val")):
        raise DataError("the split has no val rows to draw again; set 'split.val = 0.15'")
    recipe = study.recipe
    backbones = [item.backbone for item in recipe.requests]
    backbones += [item.backbone for section in recipe.finetune for item in section.runs]
    if checkpoint_names := [name for name in backbones if name.startswith(CHECKPOINT_PREFIX)]:
        raise DataError(
            f"backbone {checkpoint_names[0]!r} may have been trained on val rows of a repeat; "
            "repeat a recipe without it"
        )


def cost_text(study: Study, n_repeats: int) -> str:
    """Return an estimate of the cost of the remaining repeats; empty without finished runs to estimate from."""
    seconds: dict[str, float] = {}
    for target in study.recipe.targets:
        for run in study.comparable_runs(target):
            seconds[run.kind] = seconds.get(run.kind, 0.0) + (run.metrics.elapsed_s or 0.0)
    n_left = sum(_done(study, number) is None for number in range(1, n_repeats + 1))
    if not (seconds and n_left):
        return ""
    costs = " and ".join(f"{duration_text(elapsed_s)} of {kind}s" for kind, elapsed_s in seconds.items() if elapsed_s)
    return f"{n_left} repeats to make, about {duration_text(n_left * sum(seconds.values()))} in all: {costs} in each"


# One repeat


def _repeat_study(study: Study, number: int) -> Study:
    """Return the study of one repeat."""
    return Study(study.recipe.model_copy(update={"name": f"{study.recipe.name}/repeats/{number:02}"}))


def _done(study: Study, number: int) -> dict[str, Any] | None:
    """Return the scores of a finished repeat of the current data and recipe, else None."""
    file = _repeat_study(study, number).folder / "scores.json"
    try:
        scores = read_sealed(file)
    except IncompleteError:
        # The file does not exist yet, or was changed; the repeat is made again.
        return None
    return scores if scores.get("state") == _state(study, number) else None


def _repeated(study: Study, number: int, engine: EngineSpec | None, progress: ProgressCallback) -> dict[str, Any]:
    """Return the scores of a repeat, which is made if necessary."""
    if scores := _done(study, number):
        return scores
    repeat_study = _repeat_study(study, number)
    write_split_tables(study, repeat_study, _parts(study, number))
    runs = _run_all(repeat_study.recipe, engine, progress)
    result = {
        "state": _state(study, number),
        "targets": {name: _scores(repeat_study, name, runs) for name in repeat_study.recipe.targets},
    }
    write_sealed(repeat_study.folder / "scores.json", result)
    return result


def _state(study: Study, number: int) -> str:
    """Return a fingerprint of everything that a repeat depends on."""
    recipe = study.recipe
    columns = sorted(set(recipe.group_labels.values()))
    data = [[study.train_state(name, columns).identity(), study.val_state(name).identity()] for name in recipe.targets]
    stages = [*recipe.head, *recipe.finetune, *recipe.ensemble, recipe.split]
    targets_of_heads = [head.target for head in recipe.head]
    inputs = [recipe_embeddings(study), *training_inputs(recipe)]
    settings = [[item.identity() for item in stages], targets_of_heads, recipe.group_labels, *inputs]
    return fingerprint([number, RULES, data, settings])


def _parts(study: Study, number: int) -> "pd.Series[str]":
    """Return the part of each image in a repeat: val is cut again from train and val together."""
    parts = study.split.mask(study.split.index.isin(_free(study)), "train")
    return parts.mask(parts.index.isin(_cut(study, number)), "val")


def _free(study: Study) -> NDArray[Any]:
    """Return the ids of train and val."""
    return np.concatenate([study.ids("train"), study.ids("val")])


def _cut(study: Study, number: int) -> NDArray[Any]:
    """Return the ids of val in a repeat: as many as in the study, drawn by the recipe's rules with another seed."""
    ids, spec = _free(study), study.recipe.split
    rows = study.manifest_of(ids)
    name, target = next(iter(study.recipe.targets.items()))
    codes = strata(rows, name, target).codes if spec.stratify else None
    n_val = len(study.ids("val"))
    return held_out(ids, n_val, codes, study.groups(ids), (spec.seed + number) % N_SEEDS, "repeats")


def _run_all(recipe: Recipe, engine: EngineSpec | None, progress: ProgressCallback) -> list[RunFolder]:
    """Make all runs of a recipe and return their folders; runs that a search stopped have none."""
    stages = make_runs(recipe, engine=engine, progress=progress, only_these_runs=True)
    results = [result for _, runs in stages for result in runs]
    return [RunFolder(Path(result.path)) for result in results if result.path]


def _scores(study: Study, target: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    truth = study.labels(target)
    metric = study.metric(target)
    runs_by_name = dict(_named([run for run in runs if run.spec.target == target]))
    values = {name: score(metric, truth, run.predictions.of("val")) for name, run in runs_by_name.items()}
    sizes = {f"n_{part}": len(study.ids(part)) for part in ("train", "val")}
    return {"metric": compared_score(metric, truth.take(study.ids("val"))), **sizes, "scores": values}


def _named(runs: Sequence[RunFolder]) -> Iterator[tuple[str, RunFolder]]:
    """Yield each run with a name that is the same in all repeats: its stem, made unique by its spec if necessary."""
    stems = [run.name.rpartition("-")[0] for run in runs]
    for stem, run in zip(stems, runs, strict=True):
        yield stem if stems.count(stem) == 1 else f"{stem}-{run.spec.settings_fingerprint[:8]}", run


# All of them


def compared(target: str, repeats: Sequence[Mapping[str, Any]]) -> Repeats:
    """Return the runs of one target over all repeats, each tested against the best run."""
    metric = repeats[0]["metric"]
    names = dict.fromkeys(name for scores in repeats for name in scores["scores"])
    table = {name: np.array([scores["scores"].get(name, np.nan) for scores in repeats]) for name in names}
    complete_names = [name for name, values in table.items() if np.isfinite(values).all()]
    order = sorted(
        table, key=lambda name: (name not in complete_names, -find_score(metric).sort_key(_mean(table[name])))
    )
    n_train, n_val = (float(np.mean([scores[f"n_{part}"] for scores in repeats])) for part in ("train", "val"))
    best = table[order[0]]
    p_values = _p_values({name: table[name] for name in order if name in complete_names}, n_val / n_train)
    rows = [
        RepeatedRun(
            name,
            table[name].tolist(),
            _mean(table[name]),
            _sd(table[name]),
            _mean(table[name] - best),
            p_values.get((order[0], name), math.nan),
        )
        for name in order
    ]
    return Repeats(target, metric, len(repeats), n_train, n_val, rows)


def _p_values(table: Mapping[str, NDArray[Any]], test_share: float) -> dict[tuple[str, str], float]:
    """Return the p-value of each pair of runs, in their order, after Holm's correction for all pairs.

    The best run is known only after the test, so that a correction for its own pairs alone would be too weak.
    """
    pairs = list(combinations(table, 2))
    p = [corrected_t_test(table[first] - table[second], test_share) for first, second in pairs]
    return dict(zip(pairs, holm(p), strict=True))


def _mean(values: NDArray[Any]) -> float:
    finite_values = values[np.isfinite(values)]
    return float(finite_values.mean()) if len(finite_values) else math.nan


def _sd(values: NDArray[Any]) -> float:
    finite_values = values[np.isfinite(values)]
    return float(finite_values.std(ddof=1)) if len(finite_values) > 1 else math.nan
