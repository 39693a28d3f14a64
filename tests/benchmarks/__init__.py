"""Ratios against a named other way, measured in one run; see ``make bench``."""
