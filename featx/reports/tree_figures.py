"""Figure of the scores of boosted trees after each tree."""

from collections.abc import Mapping

from featx.artifacts.learning_curves import draw_tree_scores
from featx.reports.figures import encode_figure, make_axes, shorten_name
from featx.study.run_metrics import TreeScores


def plot_tree_scores(runs: Mapping[str, TreeScores]) -> str:
    """Plot the loss (left) and the score (right) of each run by the number of trees."""
    figure, axes = make_axes(2 * len(runs), 3.8, 2.8, max_columns=2)
    for number, (name, trees) in enumerate(runs.items()):
        for side, curve in enumerate(("loss", "score")):
            draw_tree_scores(axes[2 * number + side], shorten_name(name), trees, curve)
    axes[0].legend(fontsize=7)
    return encode_figure(figure)
