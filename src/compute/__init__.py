"""Where the work inside a stage is done: in its own process, or on a Dask cluster."""
