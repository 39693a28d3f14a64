"""Ensembles of a target: comparison with the best member, contributions, and diversity of the members."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

from featx.artifacts.artifact import read_ensemble_body
from featx.artifacts.header import read_header
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Column, Component, Figure, Picture, Section, Table, Text
from featx.reports.page.figure_style import STYLE, make_figure, shorten_name
from featx.reports.study_report.disagreements import DisagreementRows, disagreement_gallery
from featx.reports.study_report.facts import TargetFacts, score_name
from featx.reports.study_report.probability_figures import MAX_LEGEND_LENGTH
from featx.study.ensemble_metrics import EnsembleMetrics, MemberPair
from featx.study.run_settings import describe_runs, replace_names

# Number of pairs of members in the table, the most similar ones, and of members in the figure.
MAX_SHOWN_PAIRS = 40
MAX_PLOTTED_MEMBERS = 30
# Number of members up to which the figure has the numbers.
MAX_MEMBERS_WITH_NUMBERS = 12
Ensembles = list[tuple[str, EnsembleMetrics]]
COMPARISON_NOTE = (
    "Ensembles that are fitted to the selection rows are scored by cross-fitting. Disagreements: rows where the "
    "ensemble and its best member differ, and how often each of the two is right there (for numbers: closer to the "
    "true value). p is the p-value of a sign test over images, or over groups if whole groups or copies are split."
)
DIVERSITY_NOTE = (
    "Disagreement: share of rows where exactly one member is right (for numbers: mean difference of the predictions). "
    "Q: 0 for independent errors, 1 if both always err together. Shared errors: rows where both err, as a share of the "
    "rows where at least one errs."
)


def build_ensembles(
    facts: TargetFacts, disagreements: DisagreementRows | None, pictures: Mapping[str, Picture]
) -> Section | None:
    """Return the section about the ensembles; None if no run is an ensemble.

    Parameters
    ----------
    disagreements
        Rows of the best ensemble that differ from its best member; None without an ensemble.
    pictures
        Pictures of these rows.
    """
    labels = {run.name: run.label for run in facts.runs}
    ensembles = _read_ensembles(facts)
    if not ensembles:
        return None
    explanations: dict[str, list[str]] = {}
    for label, metrics in ensembles:
        explanations.setdefault(metrics.explanation, []).append(label)
    pairs = sorted(ensembles[0][1].diversity.pairs, key=_similarity, reverse=True)
    components: list[Component] = [
        Text(COMPARISON_NOTE, "note"),
        _comparison_table(facts, ensembles, labels),
        *(Text(f"{', '.join(names)}: {text}") for text, names in explanations.items()),
        *_weight_table(facts, labels),
        _contribution_table(facts, ensembles, labels),
        Text(DIVERSITY_NOTE, "note"),
        *_plot_diversity(facts, ensembles[0][0], pairs, labels),
        _pair_table(facts, ensembles[0][0], pairs, labels),
        *disagreement_gallery(facts, disagreements, pictures),
    ]
    return Section("Ensembles", components)


def _read_ensembles(facts: TargetFacts) -> Ensembles:
    """Return label and metrics of the ensembles, the best first; their explanations name members by labels."""
    descriptions = describe_runs({run.name: run.folder.spec for run in facts.runs})
    ensembles = [
        (run.label, metrics.model_copy(update={"explanation": replace_names(metrics.explanation, descriptions)}))
        for run in facts.runs
        if isinstance(metrics := run.folder.metrics, EnsembleMetrics)
    ]
    if not ensembles:
        return []
    metric = ensembles[0][1].metric
    comparable_ensembles = [(label, metrics) for label, metrics in ensembles if metrics.metric == metric]
    return sorted(comparable_ensembles, key=lambda pair: -find_score(metric).sort_key(pair[1].score))


def _similarity(pair: MemberPair) -> float:
    similarity = pair.all.similarity
    return -1.0 if similarity is None else similarity


def _format_of(ensembles: Ensembles) -> str:
    """Return the format of the scores of all ensembles and of their differences."""
    return ScoreFormat.of(ensembles[0][1].metric, [metrics.score for _, metrics in ensembles]).value


def _comparison_table(facts: TargetFacts, ensembles: Ensembles, labels: dict[str, str]) -> Table:
    metric, number_format = score_name(ensembles[0][1].metric), _format_of(ensembles)
    columns = [
        Column("ensemble"),
        Column(metric, number_format),
        Column("best member"),
        Column(f"best member, {metric}", number_format),
        Column(f"median member, {metric}", number_format),
        Column("disagreements", ",d"),
        Column("ensemble right", ",d"),
        Column("member right", ",d"),
        Column("p", ".2g"),
    ]
    rows: list[list[Any]] = []
    for label, metrics in ensembles:
        differences = metrics.disagreements
        counts = [differences.n_different, differences.n_ensemble_right, differences.n_member_right, differences.p]
        scores = [metrics.best_member_score, metrics.median_member_score]
        member = labels.get(metrics.best_member, metrics.best_member)
        rows.append([label, metrics.score, member, *scores, *counts])
    caption = "Ensembles and their best members, the best ensemble first."
    return Table(facts.component_name("ensembles"), caption, columns, rows)


def _weight_table(facts: TargetFacts, labels: dict[str, str]) -> list[Component]:
    """Return the weights of the members in each ensemble that has some, scaled to sum to 1; stacks have none."""
    weights_by_label: dict[str, dict[str, float]] = {}
    for run in facts.runs:
        if run.folder.is_ensemble:
            body = read_ensemble_body(*read_header(run.folder.path))
            weights = body.get("weights")
            if isinstance(weights, list) and len(weights) == len(body["members"]) and sum(weights):
                shares = [weight / sum(weights) for weight in weights]
                weights_by_label[run.label] = dict(zip(body["members"], shares, strict=True))
    if not weights_by_label:
        return []
    members = dict.fromkeys(name for weights in weights_by_label.values() for name in weights)
    columns = [Column("member"), *(Column(label, ".3f") for label in weights_by_label)]
    rows = [
        [labels.get(name, name), *(weights.get(name, 0.0) for weights in weights_by_label.values())] for name in members
    ]
    caption = "Weight of each member in the ensembles that are weighted means or votes."
    return [Table(facts.component_name("weights"), caption, columns, rows)]


def _contribution_table(facts: TargetFacts, ensembles: Ensembles, labels: dict[str, str]) -> Table:
    members = dict.fromkeys(name for _, metrics in ensembles for name in metrics.contributions)
    columns = [Column("member"), *(Column(label, f"+{_format_of(ensembles)}") for label, _ in ensembles)]
    rows = [
        [labels.get(name, name), *(metrics.contributions.get(name) for _, metrics in ensembles)] for name in members
    ]
    caption = (
        f"Contribution of each member: by how much the {score_name(ensembles[0][1].metric)} of the ensemble is better "
        "than without this member; negative numbers: worse."
    )
    return Table(facts.component_name("contributions"), caption, columns, rows)


def _pair_table(facts: TargetFacts, ensemble: str, pairs: list[MemberPair], labels: dict[str, str]) -> Table:
    names = ("disagreement", "q", "double_fault", "error_correlation", "shared_errors")
    headings = ("disagreement", "Q", "double fault", "correlation of errors", "shared errors")
    # Two numbers disagree by their difference, in the unit of the target.
    is_number = facts.evaluation.kind == "numbers"
    disagreements = [pair.all.disagreement for pair in pairs]
    formats = {"disagreement": (ScoreFormat.of_numbers(disagreements) if is_number else ScoreFormat()).value}
    columns = [Column("pair"), *(Column(heading, formats.get(heading, ".4f")) for heading in headings)]
    rows = [
        [f"{labels.get(pair.one, pair.one)} · {labels.get(pair.other, pair.other)}"]
        + [getattr(pair.all, name) for name in names]
        for pair in pairs[:MAX_SHOWN_PAIRS]
    ]
    pairs_text = f"the {len(rows)} most similar of {len(pairs)} pairs" if len(rows) < len(pairs) else "all pairs"
    caption = f"Similarity of the members of {ensemble}: {pairs_text}."
    return Table(facts.component_name("pairs-of-members"), caption, columns, rows)


@matplotlib.rc_context(STYLE)
def _plot_diversity(
    facts: TargetFacts, ensemble: str, pairs: list[MemberPair], labels: dict[str, str]
) -> list[Component]:
    """Plot the similarity of every two members as a matrix; nothing if it is defined for no pair."""
    members = list(dict.fromkeys(name for pair in pairs for name in (pair.one, pair.other)))[:MAX_PLOTTED_MEMBERS]
    positions = {name: position for position, name in enumerate(members)}
    matrix = np.full((len(members), len(members)), np.nan)
    for pair in pairs:
        if pair.one in positions and pair.other in positions and pair.all.similarity is not None:
            i, j = positions[pair.one], positions[pair.other]
            matrix[i, j] = matrix[j, i] = pair.all.similarity
    if np.isnan(matrix).all():
        return []
    side = 2.2 + 0.32 * len(members)
    figure, (axes,) = make_figure(1, side + 1, side)
    axes.grid(visible=False)
    image = axes.imshow(matrix, cmap="viridis", vmin=min(0.0, float(np.nanmin(matrix))), vmax=1)
    names = [shorten_name(labels.get(name, name), MAX_LEGEND_LENGTH) for name in members]
    axes.set_xticks(range(len(members)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(members)), names, parse_math=False)
    if len(members) <= MAX_MEMBERS_WITH_NUMBERS:
        for (i, j), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                axes.text(
                    j,
                    i,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    color="black" if value > 0.6 else "white",
                    fontsize=7,
                )
    unit = "correlation of errors" if facts.evaluation.kind == "numbers" else "shared errors"
    figure.colorbar(image, ax=axes, label=unit, shrink=0.7)
    closest = max(pairs, key=_similarity)
    pair_text = f"{labels.get(closest.one, closest.one)} and {labels.get(closest.other, closest.other)}"
    caption = f"Diversity matrix of the members of {ensemble}: {unit} of every two members; lower is more diverse."
    description = f"Matrix of {len(members)} members; the most similar are {pair_text} with {_similarity(closest):.2f}."
    return [Figure(facts.component_name("diversity"), caption, description, figure)]
