"""Run work in threads, in worker processes of this machine, and on Dask clusters."""
