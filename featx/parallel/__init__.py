"""Threads, worker processes of this machine, and Dask."""
