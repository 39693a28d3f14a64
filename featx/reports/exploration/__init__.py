"""Page of an exploration: one section of components for each analysis."""
