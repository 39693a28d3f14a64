"""Heads that are fitted on embeddings larger than the memory."""
