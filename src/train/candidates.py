"""Which combinations of an estimator and its parameters are tried."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.model_selection import ParameterGrid
from sklearn.utils.random import sample_without_replacement

from src.config.train import Task, Train
from src.train.estimators import find_recipe

Grid = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Candidate:
    """One combination.

    Attributes:
        estimator: Name or dotted path.
        params: Its parameters.
    """

    estimator: str
    params: Mapping[str, Any]

    def __str__(self) -> str:
        told = ", ".join(f"{name} = {value!r}" for name, value in self.params.items())
        return f"{self.estimator} with {told or 'its defaults'}"


def list_candidates(settings: Train, task: Task, random_state: int) -> list[Candidate]:
    """List the candidates of a search, in the order in which the first of equals wins.

    Args:
        settings: The section `train`.
        task: What they must do.
        random_state: Seed of a random search.

    Returns:
        Every combination of every estimator's grid; of a random search a choice without
        repetition; without a search the first value of everything.
    """
    grids = {name: grid_of(name, settings, task) for name in settings.estimator}
    if settings.search.kind == "none":
        name, grid = next(iter(grids.items()))
        return [Candidate(name, {key: values[0] for key, values in grid.items()})]
    parts = [(name, ParameterGrid(dict(grid))) for name, grid in grids.items()]
    total = sum(len(part) for _, part in parts)
    if settings.search.kind != "random":
        return list(_all_of(parts))
    n_candidates = min(settings.search.n_candidates, total)
    chosen = sample_without_replacement(total, n_candidates, method="reservoir_sampling", random_state=random_state)
    return [_pick(parts, int(position)) for position in chosen]


def grid_of(name: str, settings: Train, task: Task) -> Grid:
    """Tell what is searched of an estimator: the user's grid, else its default one."""
    grid = settings.param_grid.get(name)
    return find_recipe(name, task).grid if grid is None else grid


def _all_of(parts: Sequence[tuple[str, Any]]) -> Iterator[Candidate]:
    for name, part in parts:
        for params in part:
            yield Candidate(name, params)


def _pick(parts: Sequence[tuple[str, Any]], position: int) -> Candidate:
    for name, part in parts:
        if position < len(part):
            # In the order in which iterating gives them.
            return Candidate(name, dict(sorted(part[position].items())))
        position -= len(part)
    raise IndexError(position)
