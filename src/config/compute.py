"""Section `compute`: where the work inside a stage runs. Changing it reruns no stage and changes no output."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from src.config.section import Section


def _check_scheduler(address: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}", address) or not _has_port(address):
        raise ValueError("must be the address of a Dask scheduler, such as tcp://127.0.0.1:8786")
    return address


def _has_port(address: str) -> bool:
    return 0 < int(address.rpartition(":")[2]) < 2**16


class Compute(Section):
    """Where parts of tables are processed and candidates of a search are fitted.

    Attributes:
        engine: `local` uses the process of the stage, `dask` the workers of a Dask cluster.
        scheduler: Address of the cluster's scheduler.
    """

    engine: Literal["local", "dask"]
    scheduler: Annotated[str, AfterValidator(_check_scheduler)]
