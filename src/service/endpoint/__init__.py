"""The endpoint that serves a model over HTTP."""
