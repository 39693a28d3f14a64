"""Robustness of runs: attacks from pixels to the answer of a head or a vote, and ordinary damage of images."""
