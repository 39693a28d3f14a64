"""The output of ``featx extract``: what became of the files, and how fast they were embedded."""

from typing import TYPE_CHECKING

from featx.cli.command_summary import DETAIL, Summary
from featx.cli.console import format_counts
from featx.cli.output_settings import with_recipe_option

if TYPE_CHECKING:
    from featx.embeddings.extract import Extraction

N_FAILURES_SHOWN = 10
# Ranks of lines of the summary (`featx.cli.command_summary`).
FAILURES, IGNORED = 3, 4


def print_extraction(result: "Extraction") -> None:
    """Print the result of an extraction."""
    with Summary() as summary:
        summary.result(counts_line(result))
        summary.say(_parts_line(result))
        for name in result.pending_embeddings:
            text = (
                f"not embedded: {name} uses a network that is not trained; run 'featx finetune', then 'featx extract'"
            )
            summary.say(f"  {text}", 1)
        problem = result.label_problem
        summary.warn([*([f"no split, so nothing can be fitted: {problem}"] if problem else []), *result.warnings])
        _add_failures(result, summary)
        _add_speed(result, summary)
        if not problem:
            summary.next_step(with_recipe_option("featx fit" if result.embeddings else "featx finetune"))


def counts_line(result: "Extraction") -> str:
    """Return the number of files by outcome."""
    return (
        f"{result.n_found} files: {images_text(result)}, {result.n_duplicate} duplicate, "
        f"{result.n_unreadable} unreadable, {result.n_missing} missing, {result.n_ignored} ignored"
    )


def images_text(result: "Extraction") -> str:
    """Return the numbers of embedded and of cached images; without embeddings that of readable images."""
    if result.embeddings or result.pending_embeddings:
        return f"{result.n_embedded} embedded, {result.n_cached} cached"
    return f"{result.n_cached} readable images"


def _parts_line(result: "Extraction") -> str:
    has_embeddings = bool(result.embeddings or result.pending_embeddings)
    name = "images with embeddings" if has_embeddings else "images, without embeddings"
    parts = format_counts(result.parts) if result.parts else "no parts"
    return f"{name}: {parts}; total time {result.seconds:.1f} s"


def _add_failures(result: "Extraction", summary: Summary) -> None:
    """Add the files that were ignored, and those without an embedding."""
    for name, outcome, reason in result.failures[:N_FAILURES_SHOWN]:
        summary.say(f"  {outcome}: {name!r} {reason}", FAILURES)
    if len(result.failures) > N_FAILURES_SHOWN:
        summary.say(f"  {len(result.failures) - N_FAILURES_SHOWN} more in {result.outcomes_file}", FAILURES)
    for rule, n in list(result.ignored.items())[:N_FAILURES_SHOWN]:
        summary.say(f"  ignored: {n} × {rule}", IGNORED)


def _add_speed(result: "Extraction", summary: Summary) -> None:
    """Add the speed, and each embedding with its deviation from fp32."""
    from featx.embeddings.deviation import Deviation

    if result.n_embedded:
        summary.say(f"embedding speed {result.images_per_s:.1f} images/s; {result.bottleneck}", DETAIL - 1)
    for embedding in result.embeddings:
        name, precision, store = (embedding[key] for key in ("name", "precision", "store"))
        summary.say(f"  {name}  d {embedding['n_features']}  {precision}  {store}", DETAIL)
        if embedding["deviation"]:
            summary.say(f"    {Deviation.model_validate(embedding['deviation'])}", DETAIL)


def raise_failures(result: "Extraction", max_failures: str | None = None) -> None:
    """Raise what makes a finished extraction end with another code than 0.

    Raises
    ------
    DataError
        No image of a class can be read, or images that the labels name do not exist.
    TooManyFailuresError
        More images than `max_failures` have no embedding.
    """
    from featx.embeddings.outcomes import exceeds_limit
    from featx.errors import DataError, TooManyFailuresError

    if result.empty_classes:
        name, _, reason = result.failures[0]
        raise DataError(
            f"no image of {', '.join(result.empty_classes)} can be read; the others are embedded: repair them, or "
            f"leave the class out ('keep'); the first image without an embedding is {name!r}: {reason}"
        )
    if result.n_missing:
        first_missing = next(name for name, outcome, _ in result.failures if outcome == "missing")
        raise DataError(
            f"{result.n_missing} of {result.n_found - result.n_ignored} images named in the labels do not exist, first "
            f"{first_missing!r}; the others are embedded: correct the labels or continue without these images"
        )
    n_failed = len(result.failures)
    if max_failures is not None and exceeds_limit(max_failures, n_failed, result.n_found - result.n_ignored):
        raise TooManyFailuresError(
            f"{n_failed} images have no embedding, more than --max-failures {max_failures} allows; the others are done"
        )
