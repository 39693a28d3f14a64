"""Published protocols as recipes, and the page of their figures beside the published ones; see ``make results``."""
