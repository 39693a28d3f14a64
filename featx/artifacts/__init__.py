"""Runs as files that other code loads: headers, checksums, export cards."""
