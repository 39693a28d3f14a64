"""Sections of the report of a study, each built from the facts of one target or of the study."""
