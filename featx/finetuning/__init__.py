"""Training of new layers, and of as much of the backbone below them as a strategy names."""
