"""The output of ``featx doctor``: this machine, and a comparison of runtimes and precisions."""

from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.embeddings.doctor import Diagnosis

LABEL_CELLS = 14


def print_diagnosis(diagnosis: "Diagnosis") -> None:
    """Print the description of a machine, and a comparison of its runtimes and precisions."""
    for part, description in diagnosis.machine:
        console.print_lines(console.text_lines(f"{part:<{LABEL_CELLS}} {description}"))
    if not diagnosis.precision_checks:
        return
    columns: list[str | Column] = [
        Column("network", is_text=True),
        Column("runtime", 0, is_text=True),
        *("images/s", "cosine"),
        Column("estimated", 5),
        Column("rel. error", 6),
        Column("accepted", 1),
        Column("accuracy", 4),
        Column("sd", 7),
    ]
    rows = [
        (
            check.network,
            check.runtime,
            f"{check.images_per_s:.1f}",
            f"{check.deviation.cosine:.6f}",
            f"{check.deviation.estimated_min_cosine:.6f}",
            f"{check.deviation.relative_error:.4f}",
            "yes" if check.is_accepted else "no",
            f"{check.accuracy:.4f}",
            f"{check.accuracy_sd:.4f}",
        )
        for check in diagnosis.precision_checks
    ]
    console.table("", columns, rows)
    console.say(f"All values are measured on {diagnosis.n_images} train images and compared with eager torch in fp32.")
    console.say("cosine, rel. error: lowest cosine and largest relative error of an embedding")
    console.say("estimated: estimate of the lowest cosine among 30,000 images")
    console.say("accepted: fp32 is; a reduced precision if cosine and estimated are at least extraction.min_cosine")
    console.say("accuracy, sd: mean and standard deviation over 5 folds of a logistic regression's accuracy")
