"""All runs of a recipe on the same rows, with the same rules."""
