"""Figures of trainings: search history, importance of parameters, learning curves, and scores after each tree."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from featx.artifacts.learning_curves import LOSS, draw_curves, draw_tree_scores
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Component, Figure, Section
from featx.reports.page.figure_style import PALETTE, STYLE, add_legend, make_figure, shorten_name
from featx.reports.study_report.facts import RunFacts, TargetFacts, score_name
from featx.reports.study_report.probability_figures import MAX_LEGEND_LENGTH, WIDTH, small_figure, wide_figure
from featx.study.run_metrics import HeadMetrics, NetworkMetrics, ScoredTrial, SearchResult, TreeScores

# Number of searches in the figure of all heads, those of the best runs.
MAX_PLOTTED_SEARCHES = 8


def build_training_figures(facts: TargetFacts, run: RunFacts) -> list[Component]:
    """Return the figures of the training of one run."""
    metrics, name = run.folder.metrics, facts.component_name(run.name)
    figures: list[Component] = []
    if isinstance(metrics, NetworkMetrics):
        return [_plot_learning_curve(f"{name}-{measure}", metrics, measure) for measure in (LOSS, metrics.score)]
    if isinstance(metrics, HeadMetrics):
        if metrics.search.trials:
            figures.append(_plot_search(f"{name}-search", {run.label: metrics.search}))
        if metrics.search.importances:
            figures.append(_plot_importances(f"{name}-importances", metrics.search))
        if metrics.trees is not None:
            figures += [_plot_trees(f"{name}-trees-{curve}", metrics.trees, curve) for curve in ("loss", "score")]
    return figures


def build_search_section(facts: TargetFacts) -> Section | None:
    """Return the section that compares the searches of the heads; None if there were none."""
    heads = {run.label: run.folder.metrics for run in facts.runs}
    searches = {
        label: metrics.search
        for label, metrics in heads.items()
        if isinstance(metrics, HeadMetrics) and metrics.search.trials
    }
    if not searches:
        return None
    plotted_searches = dict(list(searches.items())[:MAX_PLOTTED_SEARCHES])
    return Section("Search", [_plot_search(facts.component_name("search"), plotted_searches)])


@matplotlib.rc_context(STYLE)
def _plot_search(name: str, searches: Mapping[str, SearchResult]) -> Figure:
    """Plot the score of each trial with its standard deviation over the folds, and the best score so far."""
    is_single = len(searches) == 1
    figure, axes = small_figure() if is_single else wide_figure()
    for index, (label, result) in enumerate(searches.items()):
        # Points of different heads are moved apart so that they do not overlap.
        numbers = np.array([trial.number + 1 for trial in result.trials]) + 0.06 * index
        values = np.array([trial.score for trial in result.trials])
        color = PALETTE[index % len(PALETTE)]
        deviations = [float(np.std(trial.fold_scores)) for trial in result.trials]
        short_label = shorten_name(label, MAX_LEGEND_LENGTH)
        axes.errorbar(
            numbers, values, yerr=deviations, fmt="o", ms=3, lw=0.8, alpha=0.6, label=short_label, color=color
        )
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=color, lw=1.5)
    metric = " / ".join(dict.fromkeys(_maximised(result.metric) for result in searches.values()))
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric}, mean over folds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not is_single:
        add_legend(axes, "lower right")
    caption = (
        "Search: cross-validation within train. Points are trials, lines the best score so far, and bars one standard "
        "deviation over the folds."
    )
    return Figure(name, caption, _describe_searches(searches), figure)


def _maximised(metric: str) -> str:
    """Return the name of the quantity that a search maximises: losses and errors are negated."""
    return score_name(metric) if find_score(metric).greater_is_better else f"negated {score_name(metric)}"


def _describe_searches(searches: Mapping[str, SearchResult]) -> str:
    texts = []
    for label, result in searches.items():
        best = _best(result.trials)
        score_text = ScoreFormat.of(result.metric, [best]).show(find_score(result.metric).signed(best))
        texts.append(f"{label}: best {score_name(result.metric)} of {len(result.trials)} trials {score_text}")
    return "; ".join(texts) + "."


def _best(trials: Sequence[ScoredTrial]) -> float:
    return max(trial.score for trial in trials)


@matplotlib.rc_context(STYLE)
def _plot_importances(name: str, result: SearchResult) -> Figure:
    """Plot the share of the score's variance that each parameter explains."""
    shares = dict(sorted(result.importances.items(), key=lambda item: item[1]))
    figure, (axes,) = make_figure(1, WIDTH, 0.9 + 0.28 * len(shares))
    axes.barh(range(len(shares)), list(shares.values()), color=PALETTE[0])
    axes.set_yticks(range(len(shares)), [shorten_name(label, MAX_LEGEND_LENGTH) for label in shares], parse_math=False)
    axes.set_xlabel("share of the score's variance")
    axes.grid(visible=False, axis="y")
    caption = (
        "Importance of each parameter of the search: share of the variance of the score that it explains (fANOVA)."
    )
    texts = [f"{label} {share:.0%}" for label, share in reversed(shares.items())]
    return Figure(name, caption, f"Importances: {', '.join(texts)}.", figure)


@matplotlib.rc_context(STYLE)
def _plot_learning_curve(name: str, metrics: NetworkMetrics, measure: str) -> Figure:
    figure, axes = small_figure()
    draw_curves(axes, "", metrics, measure)
    add_legend(axes)
    caption = (
        f"Learning curves, {score_name(measure)} by epoch: dashed on the training rows, solid on rows held out from "
        "them and on val. The dot marks the epoch of the saved weights, vertical lines the ends of phases."
    )
    description = (
        f"{score_name(measure)} of {len(metrics.epochs)} epochs; the weights of epoch {metrics.best_epoch} are kept."
    )
    return Figure(name, caption, description, figure)


@matplotlib.rc_context(STYLE)
def _plot_trees(name: str, trees: TreeScores, curve: str) -> Figure:
    figure, axes = small_figure()
    draw_tree_scores(axes, "", trees, curve)
    add_legend(axes)
    measure = score_name(getattr(trees, curve))
    caption = f"Boosted trees, {measure} by the number of trees: dashed on train, solid on val, which chooses nothing."
    values = getattr(trees, f"train_{curve}")
    description = f"{measure} on train goes from {values[0]:.4g} to {values[-1]:.4g} over {len(values)} trees."
    return Figure(name, caption, description, figure)
