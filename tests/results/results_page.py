"""The page of all measured figures beside the published ones, as Markdown."""

import math
from collections.abc import Mapping

from featx.evaluation.split_summary import CHOSEN
from tests.results.measured_figures import MeasuredFigure, MeasuredProtocol
from tests.results.neighbour_bound import NeighbourBound
from tests.results.protocols import PROTOCOLS, Protocol, PublishedFigure

HEAD = """# Results

Published protocols, repeated by featx with recipes of this repository. `make results` runs them, resumes after an
interruption, and writes this page from the folders of the runs alone; `make results PROTOCOL=elpv_song` runs one of
them. The section of a protocol whose runs are not on the machine stays as it was; it names its own commit and machine.
`make weights` fetches the pretrained networks first ([weights.md](weights.md)).

*chosen* is the result of the whole procedure: in each split, the run with the best score inside its training part, in
cross-validation or on val. Other rows are single runs. Over several splits, ± is the standard deviation over them, and
the interval is that of the mean, corrected for the overlap of the splits (Nadeau and Bengio 2003); with a single
test part it is the bootstrap interval. Published figures are as their authors state them, over their own splits.
"""

NOT_RUN = "Not run yet"


def results_page(measured: Mapping[Protocol, MeasuredProtocol | None], earlier_page: str = "") -> str:
    """Return the page for the protocols that have run, and the commands of those that have not.

    Parameters
    ----------
    measured
        Figures of the protocols whose runs are on this machine.
    earlier_page
        Page as it was written before: its sections of protocols without runs on this machine are kept.
    """
    earlier = {
        section.partition("\n")[0]: section.strip()
        for section in earlier_page.split("\n## ")[1:]
        if NOT_RUN not in section
    }
    sections = [
        f"## {earlier[protocol.title]}"
        if measured.get(protocol) is None and protocol.title in earlier
        else _protocol_section(protocol, measured.get(protocol))
        for protocol in PROTOCOLS
    ]
    return "\n\n".join([HEAD.strip(), *sections]) + "\n"


def _protocol_section(protocol: Protocol, measured: MeasuredProtocol | None) -> str:
    parts = [f"## {protocol.title}", f"`{protocol.command}`"]
    if measured is None:
        parts.append(f"{NOT_RUN} (about {protocol.hours:g} hours on 2 idle cores).")
        parts.append(_table([_published_row(figure) for figure in protocol.published]))
        return "\n\n".join(parts)
    parts.append(_origin_text(measured))
    if protocol.choices:
        parts.append(protocol.choices)
    if measured.bound is not None:
        parts.append(_bound_text(measured.bound))
    rows = []
    for score in protocol.scores:
        published = [figure for figure in protocol.published if figure.score == score]
        figures = [figure for figure in measured.figures if figure.score == score]
        rows += [_measured_row(figure, _matching(published, figure), protocol.methods) for figure in figures]
        rows += [_published_row(figure) for figure in published]
    parts.append(_table(rows))
    return "\n\n".join(parts)


def _origin_text(measured: MeasuredProtocol) -> str:
    splits = f"{measured.n_splits} of {measured.n_planned} splits" if measured.n_planned > 1 else "One split"
    machines = "; ".join(measured.machines) or "not recorded"
    commits = ", ".join(f"`{name[:12]}{'-dirty' if name.endswith('-dirty') else ''}`" for name in measured.commits)
    return (
        f"{splits}, {measured.n_train:,.0f} training and {measured.n_test:,.0f} test rows each. Heads and ensembles "
        f"took {measured.fit_s:,.0f} s in all. Commit {commits}; machine: {machines}."
    )


def _bound_text(bound: NeighbourBound) -> str:
    return (
        f"The labels limit the accuracy: the nearest neighbour of {bound.disagreement:.1%} of the {bound.n_images:,} "
        "images, on all embeddings of the recipe in rows of unit length, has another class. By the bound of Cover and "
        f"Hart (1967), which holds for many images, no classifier on these features exceeds {bound.max_accuracy:.3f}."
    )


def _table(rows: list[list[str]]) -> str:
    head = ["score", "method", "value", "95 % interval", "published by the same method"]
    lines = [f"| {' | '.join(row)} |" for row in ([*map(str, head)], ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _matching(published_figures: list[PublishedFigure], figure: MeasuredFigure) -> PublishedFigure | None:
    return next((item for item in published_figures if item.run == figure.run), None)


def _measured_row(
    figure: MeasuredFigure, published_figure: PublishedFigure | None, methods: Mapping[str, str]
) -> list[str]:
    value = f"{figure.value:.4f}" + ("" if math.isnan(figure.sd) else f" ± {figure.sd:.4f}")
    interval = "" if math.isnan(figure.low) else f"{figure.low:.4f} … {figure.high:.4f}"
    beside = (
        ""
        if published_figure is None
        else f"{_figure_text(published_figure)} (difference {figure.value - published_figure.value:+.3f})"
    )
    name = f"**featx, {CHOSEN}**" if figure.run == CHOSEN else f"featx, {methods.get(figure.run, figure.run)}"
    return [figure.score.replace("_", " "), name, value, interval, beside]


def _published_row(figure: PublishedFigure) -> list[str]:
    return [figure.score.replace("_", " "), figure.method, _figure_text(figure), "", ""]


def _figure_text(figure: PublishedFigure) -> str:
    return f"{figure.value:.3f}" + ("" if figure.sd is None else f" ± {figure.sd:.3f}")
