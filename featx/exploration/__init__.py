"""Exploration of images before training: properties, quality, outliers, likely wrong labels and projections."""
