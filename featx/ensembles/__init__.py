"""Votes over finished runs; members are predictions by id, never models or embeddings."""
