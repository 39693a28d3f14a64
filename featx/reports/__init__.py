"""A study on one self-contained page."""
