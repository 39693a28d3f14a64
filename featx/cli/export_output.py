"""The output of ``featx export``: the written files, and how closely they reproduce the run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.artifacts.export_card import Parity
    from featx.exports.export import ExportedModel


def print_exports(exports: "Sequence[ExportedModel]") -> None:
    """Print the written files, and how closely they reproduce the run."""
    for export in exports:
        parity = export.parity
        n_above = parity.n_rows_above_tolerance
        deviation = f"; {n_above} of them differ by more than {parity.tolerance:g}" if n_above else ""
        console.result(str(export.path))
        console.say(f"  {export.n_bytes / 1e6:.1f} MB, described by {export.card}")
        console.say(f"  {_difference_text('the run', parity)}{deviation}")
        if parity.n_other_labels is not None:
            n_equal = parity.n - parity.n_other_labels
            advice = "" if n_equal == parity.n else "; look at the others before you rely on the file"
            share = f"{n_equal} of {parity.n} rows ({n_equal / parity.n:.1%})"
            console.say(f"  predicted labels agree with the run for {share}{advice}")
        if parity.reason:
            console.say(f"  {parity.reason}")
    # All files are of the same run.
    if (source_parity := exports[0].source_parity) is not None:
        _print_refit(exports[0], source_parity)


def _print_refit(export: "ExportedModel", parity: "Parity") -> None:
    """Print how closely an exported refit agrees with the run that its setting is from."""
    console.say(f"{export.run} has the setting of {export.refit_of}, fitted on the same rows in fp32")
    console.say(f"  {_difference_text(str(export.refit_of), parity)}")
    if parity.n_other_labels is not None:
        n_equal = parity.n - parity.n_other_labels
        share = f"{n_equal} of {parity.n} {parity.rows} rows ({n_equal / parity.n:.1%})"
        console.say(f"  predicted labels agree with {export.refit_of} for {share}")


def _difference_text(run: str, parity: "Parity") -> str:
    return f"largest difference to {run} on {parity.n} {parity.rows} rows: {parity.max_abs_difference:.1e}"
