"""Read and write files: atomic writes, strict parsing, and checksums."""
