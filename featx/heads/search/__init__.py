"""Hyperparameter search by cross-validation on cached embeddings."""
