"""Measurements of smoothed runs: scores, and the noise that their predictions and certificates are about."""

from featx.study.run_metrics import RunMetrics
from featx.study.run_spec import ValState


class SmoothedMetrics(RunMetrics):
    """Measurements of a smoothed run.

    Attributes
    ----------
    val_state
        State of the val rows that the scores on val were computed from.
    n_certified
        Number of val images with a certificate or an abstention.
    side_px
        Side of the images that get the noise, in pixels; None for decoded images.
    smoothing_s
        Duration of all predictions and certificates in seconds.
    images_per_s
        Images that are classified per second.
    """

    val_state: ValState
    n_certified: int
    side_px: int | None
    smoothing_s: float
    images_per_s: float

    @property
    def elapsed_s(self) -> float:
        """Duration of all predictions and certificates in seconds."""
        return self.smoothing_s
