"""Run the work inside a stage: in its own process, or on a Dask cluster."""
