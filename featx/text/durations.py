"""Durations as text."""

MAX_SECONDS, MAX_MINUTES = 100, 100


def duration_text(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever is short.

    Examples
    --------
    >>> duration_text(8.4), duration_text(110), duration_text(7000)
    ('8 s', '2 min', '1.9 h')
    """
    if seconds < MAX_SECONDS:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 60 * MAX_MINUTES else f"{seconds / 3600:.1f} h"
