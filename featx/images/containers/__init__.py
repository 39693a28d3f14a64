"""Containers of images and labels: array files, tables with pixels or bytes, and formats of single files."""
