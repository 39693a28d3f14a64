"""Frozen tables joined by id, the values of targets, their encoding, and weights and units of rows."""
