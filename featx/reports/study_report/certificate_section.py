"""Certified accuracy of smoothed runs: images that are classified correctly under any attack within a radius."""

import matplotlib

from featx.evaluation.certified_runs import CertifiedRun, describe_size
from featx.reports.page.components import Column, Figure, Section, Table, Text
from featx.reports.page.figure_style import PALETTE, STYLE, add_legend, shorten_name
from featx.reports.study_report.facts import TargetFacts, interval_text
from featx.reports.study_report.probability_figures import MAX_LEGEND_LENGTH, small_figure

# Number of curves in one figure, those of the best runs.
MAX_CURVES = 6


def build_certificates(facts: TargetFacts) -> Section | None:
    """Return the section of the certified accuracy; None without smoothed runs."""
    runs = facts.evaluation.certificates
    if not runs:
        return None
    text = (
        "A smoothed run classifies by a vote over noisy copies of an image. An image counts at a radius if its "
        "prediction is right and no perturbation with a smaller Euclidean norm can change it, whatever the attack; "
        "abstentions count as wrong. Radii of different pixels, or of images of different sizes, cannot be compared."
    )
    figure = plot_certified_accuracy(facts.component_name("certified-accuracy"), runs[:MAX_CURVES])
    table = _table(facts.component_name("certificates"), runs)
    return Section("Certified accuracy", [Text(text), figure, table])


@matplotlib.rc_context(STYLE)
def plot_certified_accuracy(name: str, runs: list[CertifiedRun]) -> Figure:
    """Plot the certified accuracy of each run by radius, with the band of its 95 % intervals."""
    figure, axes = small_figure()
    for number, run in enumerate(runs):
        radii = [point.radius for point in run.curve]
        colour = PALETTE[number % len(PALETTE)]
        low, high = [point.low for point in run.curve], [point.high for point in run.curve]
        axes.fill_between(radii, low, high, color=colour, alpha=0.15, lw=0)
        accuracies = [point.accuracy for point in run.curve]
        axes.plot(radii, accuracies, color=colour, lw=1.2, label=shorten_name(run.label, MAX_LEGEND_LENGTH))
    axes.set_xlabel("radius (Euclidean norm, pixels in [0, 1])")
    axes.set_ylabel("certified accuracy")
    axes.set_xlim(left=0)
    axes.set_ylim(-0.02, 1.02)
    add_legend(axes, "upper right")
    caption = (
        "Certified accuracy by radius. Band: 95 % interval over images; each curve ends at the largest radius that the "
        "number of noisy copies can certify."
    )
    at_zero = ", ".join(f"{run.label} {run.curve[0].accuracy:.2f}" for run in runs)
    description = f"Certified accuracy of {len(runs)} smoothed runs, falling with the radius; at radius 0: {at_zero}."
    return Figure(name, caption, description, figure)


def _table(name: str, runs: list[CertifiedRun]) -> Table:
    """Return the table of runs and radii."""
    columns = [Column("run"), Column("σ", ".3g"), Column("radius in"), Column("radius", ".3g")]
    columns += [Column("certified accuracy", ".3f"), Column("95 %"), Column("abstained", ".3f"), Column("images", "d")]
    columns.append(Column("copies", "d"))
    rows = [
        [
            run.label,
            run.sigma,
            describe_size(run),
            point.radius,
            point.accuracy,
            interval_text((point.low, point.high), ".3f"),
            run.abstained,
            run.n_images,
            run.n_copies,
        ]
        for run in runs
        for point in run.table
    ]
    alphas = ", ".join(dict.fromkeys(f"{run.alpha:g}" for run in runs))
    caption = f"Certified accuracy on a sample of val. A certificate is wrong with probability {alphas} at most."
    return Table(name, caption, columns, rows)
