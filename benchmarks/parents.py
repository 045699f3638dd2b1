"""Record parent runs in which nothing ran: `python -m benchmarks.parents 100`."""

import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking import names
from src.tracking.journal import Journal
from src.tracking.process import own_key
from src.tracking.session import Place, begin_session
from src.tracking.settle import settle
from src.utils.parent import record_parent


def main(n_parents: int) -> None:
    """Record so many."""
    experiment_name = load_config(Path("params.yaml")).tracking.experiment_name
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    for number in range(n_parents):
        session = begin_session(place, f"bench-{own_key().digest}-{number}", own_key(), closed_by_owner=True)
        journal.write_session(session)
        session = record_parent(names.COLD, "open", session, experiment_name)
        settle(journal, session, is_newest=True, status="FINISHED", check=False)
        record_parent(names.COLD, "close", session, experiment_name)


if __name__ == "__main__":
    main(int(sys.argv[1]))
