"""Readers of image sources, decoding and resizing; nothing here depends on networks."""
