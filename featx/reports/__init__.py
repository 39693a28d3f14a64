"""Report of a study as one self-contained HTML page."""
