"""The output of ``featx run``: a line for each finished stage, then the comparison of all runs."""

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import console
from featx.cli.extraction_output import images_text
from featx.cli.output_settings import output_settings, with_recipe_option

if TYPE_CHECKING:
    from featx.embeddings.extract import Extraction
    from featx.ensembles.ensemble import EnsembleResult
    from featx.evaluation.evaluation_table import Evaluation
    from featx.finetuning.training_run import FinetuningResult
    from featx.heads.fit import FitResult
    from featx.robustness.corruption_results import CorruptionResults
    from featx.robustness.robustness_evaluation import RobustnessEvaluation
    from featx.robustness.smooth import SmoothingResult
    from featx.workflow.outer_splits import SummaryOfSplits


class StagePrinter:
    """Prints the stages of a recipe as they finish, and at the end what they led to."""

    def __init__(self) -> None:
        self._evaluations: Sequence[Evaluation] = ()
        self._splits: SummaryOfSplits | None = None
        self._report = ""

    def add(self, stage: str, result: Any) -> None:
        """Print a finished stage: one line, with ``--verbose`` all that its own command prints."""
        if stage == "splits":
            self._splits = result
            return
        if stage == "report":
            self._report = result.report
        elif stage in {"evaluate", "evaluate --final"}:
            self._evaluations = result
        if (output_settings().verbose or stage == "repeats") and stage not in {"report", "split"}:
            console.say()
            console.say(f"── featx {stage}")
            _print_whole(stage, result)
        elif text := _stage_text(stage, result):
            console.say_wrapped(stage, text)

    def close(self) -> None:
        """Print the comparison of all runs, what to do next, and the path of the report."""
        from featx.cli.run_table import evaluations
        from featx.cli.split_table import print_split_summary

        if self._splits is not None:
            console.say()
            print_split_summary(self._splits)
            return

        if not output_settings().verbose:
            console.say()
            evaluations(self._evaluations, next_step=self._next_step())
        else:
            console.say_wrapped("next", self._next_step())
        if self._report:
            console.result(self._report)

    def _next_step(self) -> str:
        evaluation = self._evaluations[0]
        run = evaluation.label(evaluation.recommended or evaluation.chosen)
        predict = with_recipe_option(f"featx predict PHOTOS --run {shlex.quote(run)}")
        if evaluation.part != "test" and evaluation.n_test and not evaluation.n_openings:
            return f"{predict}; when all models are made, {with_recipe_option('featx evaluate --final')}"
        return predict


def _print_whole(stage: str, result: Any) -> None:
    from featx.cli import fit_table, result_tables, run_table
    from featx.cli.attack_table import print_all
    from featx.cli.corruption_table import print_corruptions
    from featx.cli.extraction_output import print_extraction
    from featx.cli.finetune_table import networks
    from featx.cli.repeat_table import repeated
    from featx.cli.smoothing_command import print_smoothed

    printers: dict[str, Callable[[Any], None]] = {
        "extract": print_extraction,
        "fit": fit_table.fits,
        "finetune": networks,
        "ensemble": result_tables.votes,
        "attack": print_all,
        "smooth": print_smoothed,
        "evaluate": run_table.evaluations,
        "corrupt": print_corruptions,
        "repeats": repeated,
        "evaluate --final": run_table.evaluations,
    }
    printers[stage](result)


def _stage_text(stage: str, result: Any) -> str:
    """Return the result of a stage in a line; empty for stages that are printed otherwise."""
    from featx.cli.split_table import split_text

    texts: dict[str, Callable[[Any], str]] = {
        "extract": _extraction_text,
        "finetune": _networks_text,
        "fit": _heads_text,
        "ensemble": _ensembles_text,
        "attack": _attacks_text,
        "smooth": _smoothed_text,
        "corrupt": _corruption_text,
        "split": split_text,
    }
    return texts[stage](result) if stage in texts else ""


def _extraction_text(result: "Extraction") -> str:
    problems = f"{result.n_unreadable} unreadable, {result.n_missing} missing"
    text = f"{result.n_found} files: {images_text(result)}, {problems}"
    if result.failures:
        name, _, reason = result.failures[0]
        text += f", first {name!r}: {reason}"
    return text + _end(result.seconds, len(result.warnings))


def _networks_text(runs: "Sequence[FinetuningResult]") -> str:
    scores = _scores_text(runs, [("val", run.metric, run.val_score) for run in runs])
    seconds = sum(run.train_s for run in runs if run.is_new)
    return f"{scores}{_end(seconds, sum(len(run.warnings) for run in runs))}"


def _heads_text(runs: "Sequence[FitResult]") -> str:
    score_pairs = [
        ("out-of-fold", run.score, run.oof_score) if run.val_score is None else ("val", run.score, run.val_score)
        for run in runs
    ]
    seconds = sum(run.search_s + run.train_s for run in runs if run.is_new)
    return f"{_scores_text(runs, score_pairs)}{_end(seconds, sum(len(run.warnings) for run in runs))}"


def _ensembles_text(runs: "Sequence[EnsembleResult]") -> str:
    scores = _scores_text(runs, [(run.scored_on, run.metric, run.score) for run in runs])
    return f"{scores}{_end(0.0, len(dict.fromkeys(text for run in runs for text in run.warnings)))}"


def _scores_text(
    runs: "Sequence[FitResult | FinetuningResult | EnsembleResult | SmoothingResult]",
    scores: Sequence[tuple[str, str, float | None]],
) -> str:
    """Return the names and scores of runs as text, after the name of each score and, if there are several, its target.

    Parameters
    ----------
    runs
        The runs.
    scores
        For each run the rows, the name of the score, and its value.
    """
    from featx.metrics.score_texts import ScoreFormat

    has_targets = len({run.target for run in runs}) > 1
    groups: dict[str, list[str]] = {}
    for run, (rows, score, value) in zip(runs, scores, strict=True):
        heading = f"{run.target}: " * has_targets + f"{rows} {console.short_name(score)}"
        text = ScoreFormat.of(score, [value]).show(value)
        groups.setdefault(heading, []).append(f"{console.run_name(run.run, run.label)} {text}")
    texts = [f"{heading} {console.limited_list(texts)}" for heading, texts in groups.items()]
    n_done = sum(not run.is_new for run in runs)
    return "; ".join(texts) + (f"; {n_done} of {len(runs)} already done" if n_done else "")


def _attacks_text(results: "Sequence[RobustnessEvaluation]") -> str:
    from featx.cli.attack_table import checks_text, most_robust_text

    texts = [text for result in results for text in (most_robust_text(result), checks_text(result)) if text]
    return "; ".join(texts)


def _smoothed_text(runs: "Sequence[SmoothingResult]") -> str:
    seconds = sum(run.smoothing_s for run in runs if run.is_new)
    return f"{_scores_text(runs, [('val', 'accuracy', run.val_score) for run in runs])}{_end(seconds, 0)}"


def _corruption_text(result: "CorruptionResults") -> str:
    from featx.cli.corruption_table import describe_best, describe_harmful

    best = result.runs[0]
    texts = (describe_best(result.score, best.label, best.original.score, best.mean), describe_harmful(result))
    return "; ".join(filter(None, texts))


def _end(seconds: float, n_warnings: int) -> str:
    """Return how long a stage took, and how many warnings it has."""
    from featx.cli.finetune_table import duration

    warnings = f"; {n_warnings} {'warning' if n_warnings == 1 else 'warnings'}: --verbose" if n_warnings else ""
    return (f"; {duration(seconds)}" if seconds else "") + warnings
