"""What follows the pipeline: a tracking server, a registry, an endpoint, monitoring and retraining."""
