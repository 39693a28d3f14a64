"""Scores, comparison and recommendation of all runs of a recipe on the same rows."""
