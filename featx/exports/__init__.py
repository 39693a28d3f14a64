"""Runs in formats that other software reads."""
