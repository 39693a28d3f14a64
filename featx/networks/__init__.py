"""Architectures, their weights and preprocessing, and networks that compute features."""
