"""Repeats of a whole study on other outer splits: all runs are made and chosen inside the training part of each.

::

    runs/<recipe>/                    the extracted study: manifest, embeddings, the first split
                 /repeat-00/          a study of its own on the first seed's split, with the same tables
                           /<run>/    heads, networks and ensembles
                           /split-scores.json   the scores of its runs; written last
                 /splits.html         summary over all splits
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from featx.artifacts.header import commit
from featx.embeddings.machine import describe_machine
from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, IncompleteError
from featx.evaluation.coverage import CoverageCheck
from featx.evaluation.evaluate import evaluate_study
from featx.evaluation.split_summary import SplitScores, SplitSummary, summarize_splits
from featx.files.seals import read_sealed, write_sealed
from featx.progress import NOTE_STAGE, ProgressCallback
from featx.reports.split_page import write_split_page
from featx.specs.base import fingerprint
from featx.specs.checkpoint_names import section_of
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import Recipe
from featx.study.run_spec import RULES
from featx.study.study import Study
from featx.study.variant_runs import SPLIT_SCORES, has_finished_runs
from featx.workflow.equal_splits import check_splits_differ
from featx.workflow.resplit_study import write_split_tables
from featx.workflow.stages import RUN_STAGES, make_runs, study_of_results
from featx.workflow.training_inputs import recipe_embeddings, training_inputs


class SplitRecord(BaseModel):
    """Content of ``split-scores.json``: the scores of a finished split, and their origin.

    Attributes
    ----------
    state
        Fingerprint of the data and settings that the scores belong to.
    commit
        Commit of the code; None outside a repository.
    machine
        Cores and processor of the machine that made the split.
    targets
        Scores of all runs, one item per target.
    """

    state: str
    commit: str | None
    machine: str
    targets: list[SplitScores]


@dataclass(frozen=True)
class SplitResult:
    """Result of one outer split.

    Attributes
    ----------
    number, n_splits
        Number of the split, from 1, and of all splits.
    seed
        Seed of the split.
    folder
        Folder of its study.
    is_new
        Whether it was made by this call; False if it was finished already.
    seconds
        Duration of this call's work on it.
    left_s
        Estimated seconds for the splits that are left; None if none was made yet by this call.
    targets
        Scores of all runs, one item per target.
    """

    number: int
    n_splits: int
    seed: int
    folder: str
    is_new: bool
    seconds: float
    left_s: float | None
    targets: list[SplitScores]


@dataclass(frozen=True)
class SummaryOfSplits:
    """Summary of all outer splits.

    Attributes
    ----------
    targets
        Means, spreads and differences of all runs, one item per target.
    seeds
        Seeds of the splits.
    page
        Path of the page about them.
    """

    targets: list[SplitSummary]
    seeds: list[int]
    page: str


@dataclass(frozen=True)
class OuterSplits:
    """Settings of a call that apply to all outer splits.

    Attributes
    ----------
    study
        The extracted study.
    recipe
        The recipe as written. That of `study` has the paths of trained runs in place of ``checkpoint:NAME``, which the
        splits must not share.
    final
        Whether the test part of each split is opened after its runs are made and chosen.
    user
        Name in the log of openings; by default a hash of the login name.
    engine, cluster, tensorboard
        Arguments of `featx.workflow.stages.make_runs`.
    """

    study: Study
    recipe: Recipe
    final: bool
    user: str | None
    engine: EngineSpec | None
    cluster: ClusterSpec | None
    tensorboard: bool

    def run(self, progress: ProgressCallback) -> Iterator[SplitResult]:
        """Yield the result of each split when it is finished; finished splits are not made again.

        Raises
        ------
        DataError
            Two splits are equal.
        FeatxError
            A stage failed; the splits before it are kept.
        """
        check_splits_differ(self.study)
        find_near_copies(self.study, progress)
        recipes = self.recipe.outer_recipes
        durations: list[float] = []
        notes: set[str] = set()
        splits_with_runs: list[Recipe] = []
        for number, recipe in enumerate(recipes, start=1):
            progress("outer splits", number - 1, len(recipes))
            start = time.perf_counter()
            split_study = self._prepare(recipe)
            record = self._finished_record(split_study)
            is_new = record is None
            if record is not None and not self.study.recipe.split.keep_runs and has_finished_runs(recipe):
                splits_with_runs.append(recipe)
            if record is None:
                record = self._make(split_study, _nested_progress(progress, number, len(recipes), notes))
                durations.append(time.perf_counter() - start)
            left_s = sum(durations) / len(durations) * (len(recipes) - number) if durations else None
            seconds = round(time.perf_counter() - start, 2)
            folder = str(split_study.folder)
            yield SplitResult(number, len(recipes), recipe.split.seed, folder, is_new, seconds, left_s, record.targets)
        progress("outer splits", len(recipes), len(recipes))
        if splits_with_runs:
            progress(NOTE_STAGE, 0, 1, _kept_runs_text(splits_with_runs))

    def _prepare(self, recipe: Recipe) -> Study:
        """Return the study of one split with its tables."""
        split_study = Study(recipe)
        write_split_tables(self.study, split_study, self.study.parts_of_split(recipe.split))
        return Study.open(recipe)

    def _finished_record(self, split_study: Study) -> SplitRecord | None:
        """Return the scores of a finished split of the current data and recipe, None if it is not finished."""
        try:
            record = read_sealed(split_study.folder / SPLIT_SCORES, "", SplitRecord)
        except IncompleteError:
            # The file does not exist yet, or was changed; the split is made again from its finished runs.
            return None
        if record.state != self._state(split_study):
            return None
        # Runs that were not kept are made again where the recipe asks for them now.
        has_lost_runs = self.study.recipe.split.keep_runs and not has_finished_runs(split_study.recipe)
        return None if has_lost_runs else record

    def _make(self, split_study: Study, progress: ProgressCallback) -> SplitRecord:
        """Make all runs of a split, choose among them, and write their scores."""
        stages = make_runs(
            split_study.recipe,
            engine=self.engine,
            progress=progress,
            cluster=self.cluster,
            # Networks that are backbones are trained in the split, so that their embeddings are always pending.
            has_pending_embeddings=any(item.backbone.startswith(CHECKPOINT_PREFIX) for item in self.recipe.embedding),
            tensorboard=self.tensorboard,
            only_these_runs=True,
        )
        results: list[Any] = []
        for stage, stage_results in stages:
            progress(stage, 1, 1)
            results += stage_results if stage in RUN_STAGES else []
        # Runs of an earlier recipe may lie in the folder.
        made_study = study_of_results(split_study.recipe, results)
        evaluations = evaluate_study(
            made_study, CoverageCheck(None), final=self.final, user=self.user, progress=progress
        )
        n_train = len(split_study.ids("train"))
        targets = []
        for evaluation in evaluations:
            seconds = sum(run.metrics.elapsed_s or 0.0 for run in made_study.runs(evaluation.target))
            n_scored = len(split_study.ids("train" if evaluation.part == "oof" else evaluation.part))
            targets.append(SplitScores.of(evaluation, n_train, n_scored, round(seconds, 2)))
        record = SplitRecord(
            state=self._state(split_study), commit=commit(), machine=describe_machine(), targets=targets
        )
        write_sealed(split_study.folder / SPLIT_SCORES, record.model_dump(mode="json"))
        if not self.study.recipe.split.keep_runs:
            for run in split_study.run_folders():
                shutil.rmtree(run.path)
        return record

    def _state(self, split_study: Study) -> str:
        """Return a fingerprint of everything that the scores of a split depend on."""
        recipe = split_study.recipe
        stages = [item.identity() for item in (*recipe.head, *recipe.finetune, *recipe.ensemble)]
        targets = [[head.target for head in recipe.head], [split_study.final_state(name) for name in recipe.targets]]
        inputs = [recipe_embeddings(self.study), *training_inputs(recipe)]
        return fingerprint([RULES, stages, targets, recipe.group_labels, *inputs, self.final])


def check_outer_splits(recipe: Recipe, repeats: int) -> None:
    """Check that a recipe with outer splits is not repeated as well, and that each split trains its own networks.

    Backbones may be the networks of ``[[finetune]]`` sections, which are trained inside each split.

    Raises
    ------
    DataError
        `repeats` is not 0, or a backbone is a network that is not trained inside each split.
    """
    if repeats:
        raise DataError(
            f"--repeats {repeats} cuts val again, and the recipe's [split] has {len(recipe.split.outer_seeds)} outer "
            "splits; expected one of them: leave out '--repeats'"
        )
    section_names = {section.name for section in recipe.finetune}
    backbones = [(f"embedding[{number}]", item.backbone) for number, item in enumerate(recipe.embedding)]
    backbones += [
        (f"finetune[{number}]", run.backbone) for number, item in enumerate(recipe.finetune) for run in item.runs
    ]
    outside_backbones = [
        (key, backbone)
        for key, backbone in dict.fromkeys(backbones)
        if backbone.startswith(CHECKPOINT_PREFIX) and section_of(backbone) not in section_names
    ]
    if outside_backbones:
        key, backbone = outside_backbones[0]
        raise DataError(
            f"{len(outside_backbones)} of {len(backbones)} backbones may have been trained on test rows of an outer "
            f"split, first {key}.backbone = {backbone!r}; expected 'checkpoint:NAME' with the name of a [[finetune]] "
            "section, which is trained inside each split"
        )


def outer_stages(outer: OuterSplits, progress: ProgressCallback) -> Iterator[tuple[str, Any]]:
    """Yield ``split`` with the result of each outer split, then ``splits`` with the summary of all of them."""
    splits = []
    if note := _skipped_stages_text(outer.study.recipe):
        progress(NOTE_STAGE, 0, 1, note)
    for result in outer.run(progress):
        splits.append(result)
        yield "split", result
    target_scores = zip(*(result.targets for result in splits), strict=True)
    summaries = [summarize_splits(scores) for scores in target_scores]
    seeds = [result.seed for result in splits]
    yield "splits", SummaryOfSplits(summaries, seeds, str(write_split_page(outer.study, summaries, seeds)))


def _skipped_stages_text(recipe: Recipe) -> str:
    """Return that sections for later stages have no effect on outer splits; empty if the recipe has none of them."""
    commands = {"smoothing": "smooth", "attack": "attack", "corruption": "corrupt"}
    keys = [key for key in commands if getattr(recipe, key)]
    if not keys:
        return ""
    examples = [f"'featx {commands[key]} -r {recipe.outer_recipes[0].reference}'" for key in keys]
    return (
        f"{', '.join(f'[{key}]' for key in keys)} {'has' if len(keys) == 1 else 'have'} no effect: with several outer "
        f"splits, heads, networks and ensembles alone are made; run {', '.join(examples)} for one split"
    )


def _kept_runs_text(recipes: Sequence[Recipe]) -> str:
    """Return that finished splits have runs although the recipe does not keep them, and how they are removed."""
    return (
        f"{len(recipes)} of the outer splits still have runs of an earlier keep_runs = true; remove them with "
        f"'featx runs rm RUN… -r {recipes[0].reference}', or set 'keep_runs = true'"
    )


def _nested_progress(progress: ProgressCallback, number: int, n_splits: int, notes: set[str]) -> ProgressCallback:
    """Return a callback that reports all stages of a split beside one bar, and each message once."""

    def report(stage: str, n_done: int, total: int, /, note: str = "") -> None:
        if stage == NOTE_STAGE:
            if note not in notes:
                notes.add(note)
                progress(stage, n_done, total, note)
            return
        progress("outer splits", number - 1, n_splits, f"{stage} {n_done}/{total}")

    return report
