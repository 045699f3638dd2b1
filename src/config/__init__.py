"""Settings of `params.yaml`: the sections, how they are read, and how they are checked."""
