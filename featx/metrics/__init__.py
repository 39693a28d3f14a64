"""Scores and their definitions, calibration, and conformal prediction."""
