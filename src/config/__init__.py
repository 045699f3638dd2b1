"""Settings: what they may be (schema) and how they are read (load)."""
