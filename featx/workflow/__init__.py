"""All stages of a recipe, and repeats of the whole protocol on other splits."""
