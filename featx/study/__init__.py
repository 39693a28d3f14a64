"""The folders of a study: its split, its runs and the log of test scores."""
