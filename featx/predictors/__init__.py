"""Saved runs that predict new images, and their predictions."""
