"""Metrics of all workers for Prometheus. Import this after `PROMETHEUS_MULTIPROC_DIR` is set."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter("serve_requests", "Requests by path and status", ["path", "status"])
LATENCY = Histogram(
    "serve_latency_seconds", "Time from the headers to the answer of a prediction",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
BATCH_ROWS = Histogram("serve_batch_rows", "Rows in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 1000, 10_000))
QUEUE_ROWS = Gauge("serve_queue_rows", "Rows that wait for a prediction", multiprocess_mode="livesum")
MODEL_WORKERS = Gauge("serve_model_workers", "Workers that serve a model", ["model"], multiprocess_mode="livesum")
SWAPS = Counter("serve_swaps", "New models that took over, counted in each worker")
REFUSED_SWAPS = Counter("serve_refused_swaps", "New models that failed to load, counted in each worker")
RECORD_DROPPED = Gauge("serve_record_dropped_rows", "Rows not recorded: the queue was full", multiprocess_mode="sum")
RECORD_FAILED = Gauge("serve_record_failed_rows", "Rows not recorded: writing failed", multiprocess_mode="sum")


def render() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # its constructor has no types
    return generate_latest(registry)
