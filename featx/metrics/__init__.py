"""Definitions of scores, scores of predictions, calibration and conformal prediction."""
