"""The floor: the five stages and their tracking in one process, without DVC.

    python -m benchmarks.floor

What the pipeline does beyond this is what it costs to have processes, DVC and its cache.
"""

import importlib
import os
import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking import names
from src.tracking.journal import Journal, now
from src.tracking.lineage import read_stages
from src.tracking.process import own_key
from src.tracking.session import Place, begin_session
from src.tracking.settle import settle
from src.utils.logs import setup_logging
from src.utils.parent import record_parent
from src.utils.summary import summarize


def main() -> None:
    """Run every stage of `dvc.yaml` under one parent run."""
    stages = [getattr(importlib.import_module(f"src.stages.{name}"), name) for name in read_stages(Path.cwd())]
    config = load_config(Path("params.yaml"))
    setup_logging(config.base.log_level)
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    session = begin_session(place, f"floor-{own_key().digest}-{now()}", own_key(), name="floor", closed_by_owner=True)
    journal.write_session(session)
    experiment_name = config.tracking.experiment_name
    session = record_parent(names.COLD, "open", session, experiment_name)
    os.environ[names.PIPELINE_SESSION] = session.id
    for stage in stages:
        stage(config)
    session = journal.read_session(session.id) or session
    settle(journal, session, is_newest=True, status="FINISHED", check=False)
    session = record_parent(names.COLD, "close", session, experiment_name)
    sys.stdout.write(summarize(config, session, journal.visits(session.id)))


if __name__ == "__main__":
    main()
