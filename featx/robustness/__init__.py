"""Robustness of runs: attacks from pixels to the prediction of a head or a vote, and common corruptions of images."""
