"""Links into MLflow's UI."""

from urllib.parse import quote, urlencode

from src.tracking.store import Store


def make_page(path: str, **query: str) -> str:
    """Name a page of the UI, relative to its address.

    Args:
        path: As `experiments/1`.
        query: What the page is asked for.
    """
    # Without the last part the UI opens its view for language models.
    return f"#/{path}?{urlencode({**query, 'workflowType': 'machine_learning'}, quote_via=quote)}"


def ui_address(store: Store) -> str | None:
    """Tell where a tracking server shows its UI; None for a store that has none before one is started."""
    return store.label.rstrip("/") if store.uri.startswith(("http://", "https://")) else None
