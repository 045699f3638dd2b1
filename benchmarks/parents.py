"""Record parent runs in which nothing ran: `python -m benchmarks.parents 100`."""

import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.dvc_repo import open_repo
from src.tracking.journal import Journal
from src.tracking.outcomes import end_session
from src.tracking.process import own_key
from src.tracking.session import Place, begin_session
from src.tracking.store import open_store
from src.tracking.sync import complete


def main(n_parents: int) -> None:
    """Record `n_parents` of them."""
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    store = open_store(place.main_root, load_config(Path("params.yaml")).tracking.experiment_name)
    with open_repo(place.main_root) as repo:
        for number in range(n_parents):
            session = begin_session(place, f"bench-{own_key().digest}-{number}", own_key(), launched=True)
            end_session(journal, session, is_newest=True, status="FINISHED", check=False)
            complete(journal, store, repo, session)


if __name__ == "__main__":
    main(int(sys.argv[1]))
