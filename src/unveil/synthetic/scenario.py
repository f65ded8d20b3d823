"""What happens in a synthetic clip: who moves where, who hides whom, who leaves and returns."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.interpolate import PchipInterpolator

from unveil.errors import InputError

Scenario = Literal["calm", "occlusion", "return", "late", "crowd"]
"""calm: everything stays in view. occlusion: object 1 passes behind object 2, wholly hidden for a
while. return: object 1 leaves the picture and comes back. late: the last object comes in halfway.
crowd: many objects that cross."""

SCENARIOS: tuple[str, ...] = get_args(Scenario)
_OUT = 0.45  # how far outside the picture an object waits, as a share of its longer side


@dataclass(frozen=True)
class Actor:
    """An object's way through a clip, before it has a shape.

    times: 0 … 1, ascending. places: [K, 2], rows and columns as shares of height and width. size:
    its radius as a share of the picture's shorter side. depth: lower is nearer to the camera.
    solid: without limbs, so that what is behind it stays hidden.
    """

    times: tuple[float, ...]
    places: np.ndarray
    size: float
    depth: float
    solid: bool = False

    def at(self, time: np.ndarray) -> np.ndarray:
        """Its places [T, 2] at times [T], by a monotone spline: it never overshoots."""
        return PchipInterpolator(self.times, self.places, axis=0)(time)


def cast(scenario: str, objects: int, rng: np.random.Generator) -> list[Actor]:
    """The actors of a clip; actor i becomes object i + 1. Raises InputError for unknown names."""
    if scenario not in SCENARIOS:
        raise InputError(f"no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
    least = 2 if scenario == "occlusion" else 1
    if not least <= objects <= 20:
        raise InputError(f"objects: expected {least} … 20 for {scenario!r}, got {objects}")
    actors = [_wanderer(i, objects, rng, scenario == "crowd") for i in range(objects)]
    if scenario == "occlusion":
        actors = _hiding(rng) + [_bystander(i, rng) for i in range(objects - 2)]
    elif scenario == "return":
        actors[0] = _returning(rng)
    elif scenario == "late":
        actors[-1] = _entering(rng)
    return actors


def _wanderer(i: int, count: int, rng: np.random.Generator, crossing: bool) -> Actor:
    """One that stays in view: around a place of its own, or through the middle when crossing."""
    column = (i + 0.5 + rng.uniform(-0.2, 0.2)) / count
    home = np.array([rng.uniform(0.25, 0.75), np.clip(column, 0.12, 0.88)])
    reach = np.array([0.22, 0.42 if crossing else 0.12])
    places = np.clip(home + rng.uniform(-1, 1, (4, 2)) * reach, 0.1, 0.9)
    size = rng.uniform(0.12, 0.2) * (3 / max(count, 3)) ** 0.4
    return Actor((0.0, 0.35, 0.7, 1.0), places, size, rng.uniform(1, 2))


def _bystander(i: int, rng: np.random.Generator) -> Actor:
    """One that keeps to the upper or lower edge, out of the way of those in the middle."""
    rows = (0.08, 0.94)[i % 2] + rng.uniform(-0.04, 0.04, 3)
    columns = rng.uniform(0.1, 0.9) + rng.uniform(-0.1, 0.1, 3)
    return Actor((0.0, 0.5, 1.0), np.stack((rows, columns), 1), 0.1, rng.uniform(1, 2), solid=True)


def _hiding(rng: np.random.Generator) -> list[Actor]:
    """A small one that passes behind a large one and stays hidden around the middle."""
    row, way = rng.uniform(0.45, 0.6), rng.choice([-1, 1])
    columns = np.array([0.5 - 0.38 * way, 0.5, 0.5, 0.5 + 0.38 * way])
    rows = row + np.array([rng.uniform(-0.1, 0.1), 0, 0, rng.uniform(-0.1, 0.1)])
    small = Actor((0.0, 0.4, 0.6, 1.0), np.stack((rows, columns), 1), 0.11, 3.0, solid=True)
    still = np.array([[row, 0.49], [row, 0.51]])
    return [small, Actor((0.0, 1.0), still, 0.27, 0.0, solid=True)]


def _returning(rng: np.random.Generator) -> Actor:
    """One that leaves to a side, waits there, and comes back."""
    side = rng.choice([-1, 1])
    row, back = rng.uniform(0.3, 0.7, 2)
    inside, outside = 0.5 + side * 0.22, 0.5 + side * (0.5 + _OUT)
    columns = np.array([0.5 - side * 0.1, inside, outside, outside, inside, 0.5])
    rows = np.array([row, row, row, back, back, back])
    return Actor((0.0, 0.2, 0.42, 0.58, 0.8, 1.0), np.stack((rows, columns), 1), 0.16, 0.5)


def _entering(rng: np.random.Generator) -> Actor:
    side, row = rng.choice([-1, 1]), rng.uniform(0.3, 0.7)
    outside = 0.5 + side * (0.5 + _OUT)
    columns = np.array([outside, outside, 0.5 + side * 0.2, 0.5 - side * 0.1])
    return Actor((0.0, 0.4, 0.75, 1.0), np.stack((np.full(4, row), columns), 1), 0.17, 0.5)
