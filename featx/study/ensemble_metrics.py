"""Measurements of ensembles: scores, diversity of the members, and comparison with the best member."""

from featx.study.run_metrics import Measurements, RunMetrics


class PairAgreement(Measurements):
    """Agreement of two members' right and wrong predictions; None where undefined (0/0), or for numbers.

    Attributes
    ----------
    disagreement
        Share of predictions that exactly one member gets right; for numbers, mean distance of the two predictions.
    q
        Yule's Q of right and wrong, in [-1, 1]: 0 for independent members, 1 if they are always wrong together.
    double_fault
        Share of predictions that both get wrong.
    error_correlation
        Correlation of being wrong, in [-1, 1]; for numbers, correlation of the errors.
    shared_errors
        Share of double faults among the predictions that at least one member gets wrong.
    """

    disagreement: float | None
    q: float | None
    double_fault: float | None
    error_correlation: float | None
    shared_errors: float | None

    @property
    def similarity(self) -> float | None:
        """Share of errors that the members have in common; for numbers the correlation of their errors."""
        return self.error_correlation if self.shared_errors is None else self.shared_errors


class MemberPair(Measurements):
    """Agreement of two members, over all rows and for each class, label or number.

    Attributes
    ----------
    one, other
        Names of the two members.
    all
        Agreement over all rows.
    each
        Name of a class → agreement on its rows; name of a label or number → agreement on it.
    """

    one: str
    other: str
    all: PairAgreement
    each: dict[str, PairAgreement]


class Diversity(Measurements):
    """Diversity of the members of an ensemble.

    Attributes
    ----------
    oracle
        Share of predictions that at least one member gets right; for numbers, mean error of the closest member.
    pairs
        Agreement of every two members.
    """

    oracle: float
    pairs: tuple[MemberPair, ...]


class Disagreements(Measurements):
    """Predictions in which an ensemble differs from its best member, and which of the two is right.

    Attributes
    ----------
    member
        Name of the best member.
    n
        Number of predictions.
    n_different
        Number of predictions in which the two differ.
    n_ensemble_right, n_member_right
        Numbers of differing predictions that only the ensemble, and only the member, gets right; for numbers, how often
        each is closer to the truth.
    p
        p-value of a sign test of equal `n_units_ensemble` and `n_units_member`.
    n_units_ensemble, n_units_member
        Numbers of units in which the predictions that only the ensemble gets right outweigh those that only the member
        gets right, by the weights of the rows, and the other way round; by default 0.
    by_group
        Whether a unit is all images of a group of ``split.by`` and all copies of an image; by default a unit is an
        image.
    """

    member: str
    n: int
    n_different: int
    n_ensemble_right: int
    n_member_right: int
    p: float
    # Runs of earlier versions state predictions only.
    n_units_ensemble: int = 0
    n_units_member: int = 0
    by_group: bool = False

    @property
    def units(self) -> str:
        """Noun for the units, in the plural."""
        return "groups" if self.by_group else "images"


class EnsembleMetrics(RunMetrics):
    """Measurements of an ensemble on the selection rows: those of val, or of train out of fold without a val split.

    Attributes
    ----------
    metric
        Name of the metric of the following scores.
    score
        Score of the ensemble; that of a trained method is cross-fitted.
    weighted
        Whether scores are weighted by the rows' weights.
    best_member, best_member_score
        Name and score of the candidate with the best score on the same rows.
    median_member_score
        Median score of the candidates.
    diversity
        Diversity of the candidates.
    disagreements
        Comparison with the best member.
    contributions
        Name of each candidate → score minus that of the ensemble without it; losses and errors are negated, so that
        positive values mean that the ensemble is better with the candidate.
    explanation
        Comparison of the ensemble with its best member, and description of the members, as a paragraph.
    """

    metric: str
    score: float
    weighted: bool
    best_member: str
    best_member_score: float
    median_member_score: float
    diversity: Diversity
    disagreements: Disagreements
    contributions: dict[str, float]
    explanation: str
