"""Scikit-learn Pipelines on cached embeddings, tuned by Optuna."""
