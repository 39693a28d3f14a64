"""Train new layers, and as much of the backbone below them as a strategy says."""
