"""Section `compute`: where the work inside a stage is done. It reruns no stage and changes no output."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from src.config.section import PublicUrl, Section


def _check_scheduler(address: str) -> str:
    if not address.startswith(("tcp://", "tls://")) or not address.rpartition(":")[2].isdigit():
        raise ValueError("must be the address of a Dask scheduler, such as tcp://127.0.0.1:8786")
    return address


class Compute(Section):
    """Where parts of tables are processed and candidates of a search are fitted.

    Attributes:
        engine: `local` is the process of the stage, `dask` the workers of a Dask cluster.
        scheduler: Address of the scheduler of that cluster.
    """

    engine: Literal["local", "dask"]
    scheduler: Annotated[PublicUrl, AfterValidator(_check_scheduler)]
