"""Files that are written whole, parsed strictly and sealed by checksums."""
