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
        deviation = f"; {parity.n_beyond} of them differ by more than {parity.tolerance:g}" if parity.n_beyond else ""
        console.result(str(export.path))
        console.say(f"  {export.n_bytes / 1e6:.1f} MB, described by {export.card}")
        console.say(
            f"  largest difference to the run on {parity.n} {parity.rows} rows: {parity.largest:.1e}{deviation}"
        )
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
    console.say(f"  largest difference to {export.refit_of} on {parity.n} {parity.rows} rows: {parity.largest:.1e}")
    if parity.n_other_labels is not None:
        n_equal = parity.n - parity.n_other_labels
        share = f"{n_equal} of {parity.n} {parity.rows} rows ({n_equal / parity.n:.1%})"
        console.say(f"  predicted labels agree with {export.refit_of} for {share}")
