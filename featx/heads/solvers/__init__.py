"""Solvers that are faster than those of scikit-learn, with the same solutions."""
