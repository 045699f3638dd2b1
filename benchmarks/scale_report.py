"""The measured figures of tables larger than memory as a section of the page."""

from typing import Any

PAGE = """
## Tables larger than memory

`python -m benchmarks.scale` measures the stages on generated tables of 20 numbers and a target of two classes, with
two computed features and parts of 250,000 rows unless said otherwise; `--only NAME` measures a part of it. Each stage
is a process of its own, without DVC and tracking, except for `dvc repro`.

{tables}

The limit is `RLIMIT_DATA`, set by `ulimit -d`. Peak memory is that of the largest process. What a Dask worker costs is
not counted. CPU of parts and of the other tools is the median of {runs} runs in turn.{peers}

Dask-ML and Spark fit models on a cluster as well. Most estimators of Dask-ML, and `lightgbm.dask`, need all rows in the
memory of the workers. Spark needs a Java virtual machine on each machine, its estimators in place of those of
scikit-learn, and PySpark with a session to predict.

Measured on {machine}.
"""
PEERS = """ DuckDB and Polars
read the same parts, write one file where the stages write parts, and use Snappy as well. The stages also check
their inputs, and `data_split` describes the training rows on a page, which takes {page:.1f} s of CPU. All data
checks are set to `ignore`. {versions}."""
LIMIT_MB = 500


def describe_scale(scale: dict[str, Any]) -> str:
    """Describe how large tables are processed.

    Args:
        scale: `machine`, and each part as a function of `benchmarks.scale.PARTS` returns it; parts may be missing.
    """
    peers, n_runs = "", {scale[name]["runs"] for name in ("tax", "peers") if name in scale}
    if "peers" in scale:
        versions = "; ".join(f"{name}: {version}" for name, version in scale["peers"]["versions"].items())
        peers = PEERS.format(page=scale["peers"]["page_seconds"], versions=versions)
    return PAGE.format(
        tables=make_tables(scale), runs=" or ".join(map(str, sorted(n_runs))) or 3, peers=peers,
        machine=scale["machine"],
    )  # fmt: skip


def make_tables(scale: dict[str, Any]) -> str:
    """Compare each figure with its bar, and list the cost of each command, as two tables of Markdown."""
    bars = [line for name, describe in BARS.items() if name in scale for line in describe(scale[name])]
    costs = [
        f"| {name}: {command} | {cost['seconds']:.1f} | {cost['cpu_seconds']:.1f} | {cost['megabytes']:,.0f} MB |"
        for name in BARS
        if name in scale
        for command, cost in scale[name]["costs"].items()
    ]
    lines = ["| promise | measured | bar |", "| --- | --- | --- |", *bars, ""]
    lines += ["| command | seconds | CPU seconds | peak memory |", "| --- | --: | --: | --: |", *costs]
    return "\n".join(lines)


def _line(promise: str, measured: str, bar: str, *, is_kept: bool) -> str:
    return f"| {promise} | {measured} | {bar}, {'kept' if is_kept else 'missed'} |"


def _describe_limit(limit: dict[str, Any]) -> list[str]:
    # A stage that fails ends the measurement.
    name, cost = max(limit["costs"].items(), key=lambda item: item[1]["megabytes"])
    rows = f"{limit['n_rows']:,} rows within 1.5 GB"
    return [
        _line(f"{rows}: `pandas.read_parquet`", limit["error"] or "passes", "fails", is_kept=bool(limit["error"])),
        _line(f"{rows}: the five stages", f"pass; peak {cost['megabytes']:,.0f} MB in `{name}`", "pass", is_kept=True),
    ]


def _describe_flat(flat: dict[str, Any]) -> list[str]:
    return [
        _line(
            f"peak memory of {command}", f"{cost['megabytes']:,.0f} MB", f"≤ {LIMIT_MB} MB",
            is_kept=cost["megabytes"] <= LIMIT_MB,
        )
        for command, cost in flat["costs"].items()
    ]  # fmt: skip


def _describe_tax(tax: dict[str, Any]) -> list[str]:
    whole, parts = (_sum_cpu(tax, f"parts: {number}") for number in (1, 4))
    return [_compare("1M rows in four parts: CPU beside one part", parts, whole, 1.1)]


def _describe_engine(engine: dict[str, Any]) -> list[str]:
    seconds = ", ".join(f"{name}: {cost['seconds']:.0f} s" for name, cost in engine["costs"].items())
    found = "equal" if engine["is_equal"] else f"differs in {', '.join(engine['different']) or 'its text'}"
    return [_line("`dvc.lock` of 1M rows on each engine", f"{found}; {seconds}", "equal", is_kept=engine["is_equal"])]


def _describe_rows(rows: dict[str, Any]) -> list[str]:
    n_rows, scores = rows["n_rows"], rows["scores"]
    promise = f"LightGBM on {n_rows['all rows']:,.0f} rows beside its sample of {n_rows['sample']:,.0f}: ROC AUC"
    measured = f"{scores['all rows']:.4f} and {scores['sample']:.4f}"
    return [_line(promise, measured, "better", is_kept=scores["all rows"] > scores["sample"])]


def _describe_peers(peers: dict[str, Any]) -> list[str]:
    others = {name: cpu for name in ("DuckDB", "Polars") if (cpu := _sum_cpu(peers, name))}
    if not others:
        return []
    fastest = min(others, key=lambda name: others[name])
    ours, promise = _sum_cpu(peers, "stages"), "`featurize` and `data_split` of 10M rows: CPU beside"
    return [_compare(f"{promise} {name}", ours, cpu, 1.2 if name == fastest else None) for name, cpu in others.items()]


def _sum_cpu(part: dict[str, Any], ending: str) -> float:
    return float(sum(cost["cpu_seconds"] for command, cost in part["costs"].items() if command.endswith(ending)))


def _compare(promise: str, ours: float, theirs: float, bar: float | None) -> str:
    measured = f"{ours:.1f} s and {theirs:.1f} s, {ours / theirs:.2f}"
    if bar is None:
        return f"| {promise} | {measured} |  |"
    return _line(promise, measured, f"≤ {bar:.2f}", is_kept=ours / theirs <= bar)


BARS = {
    "limit": _describe_limit,
    "flat": _describe_flat,
    "tax": _describe_tax,
    "engine": _describe_engine,
    "rows": _describe_rows,
    "peers": _describe_peers,
}
