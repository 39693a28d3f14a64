"""Attacks on runs, each a function from images in [0, 1] to perturbed images; `featx.robustness.attacks.registry`."""
