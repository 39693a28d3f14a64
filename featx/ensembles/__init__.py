"""Ensembles of finished runs, whose members are predictions by id, never models or embeddings."""
