"""The five DVC stages, one module each."""
