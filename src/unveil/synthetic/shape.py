"""Shapes that bend: a body with a wavy outline and limbs that swing."""

from dataclasses import dataclass

import numpy as np

_WAVES = np.arange(2, 6)  # waves around the outline; one wave would only move it
_SOFT = 0.8  # px over which an edge fades


@dataclass(frozen=True)
class Blob:
    """A closed outline r(θ, time) = radius · (1 + Σ aₖ cos(kθ + φₖ + 2π fₖ time)).

    radius in px; centre: offset (rows, columns) in px from what it belongs to; amplitudes, phases,
    rates: one a wave, rates in turns a clip. swing: how far the centre turns, in radians, and how
    often in a clip. stretch: ratio of its axes.
    """

    radius: float
    centre: tuple[float, float]
    amplitudes: np.ndarray
    phases: np.ndarray
    rates: np.ndarray
    swing: tuple[float, float] = (0.0, 0.0)
    stretch: float = 1.0

    def distance(self, rows: np.ndarray, columns: np.ndarray, time: float) -> np.ndarray:
        """About how many px a position lies within the outline; negative outside it."""
        turn = self.swing[0] * np.sin(2 * np.pi * self.swing[1] * time)
        y, x = self.centre
        y, x = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
        dy, dx = (rows - y) * self.stretch, (columns - x) / self.stretch
        return self._outline(np.arctan2(dy, dx), time) - np.hypot(dy, dx)

    def _outline(self, angle: np.ndarray, time: float) -> np.ndarray:
        r = np.full_like(angle, self.radius)
        for k, a, phase, rate in zip(_WAVES, self.amplitudes, self.phases, self.rates, strict=True):
            r += self.radius * a * np.cos(k * angle + phase + 2 * np.pi * rate * time)
        return r


@dataclass(frozen=True)
class Shape:
    """A union of blobs; radius in px of a circle that holds them all at any time."""

    blobs: tuple[Blob, ...]
    radius: float

    def coverage(
        self, rows: np.ndarray, columns: np.ndarray, time: float, soft: float = _SOFT
    ) -> np.ndarray:
        """How much of each position the shape covers, 0 … 1; half at its outline.

        rows, columns: px from the shape's centre, in its own turned frame. time: 0 … 1. soft: px
        over which the edge fades to either side.
        """
        inside = self.blobs[0].distance(rows, columns, time)
        for blob in self.blobs[1:]:
            inside = np.maximum(inside, blob.distance(rows, columns, time))
        return np.clip(0.5 + inside / (2 * soft), 0, 1)

    def depth(self, rows: np.ndarray, columns: np.ndarray, time: float) -> np.ndarray:
        """How deep a position lies in the body, 0 at the outline … 1, for its shading."""
        body = self.blobs[0]
        return np.clip(body.distance(rows, columns, time) / body.radius, 0, 1)


def random_shape(rng: np.random.Generator, radius: float, solid: bool = False) -> Shape:
    """A body of about this radius in px, with none to three limbs; a solid one has none."""
    body = _blob(rng, radius, (0.0, 0.0), 0.05 if solid else 0.13)
    blobs, reach = [body], radius * (1.25 if solid else 1.6)
    for _ in range(0 if solid else rng.integers(0, 4)):
        angle, size = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.3, 0.5)
        away = radius * rng.uniform(0.85, 1.15)
        centre = (away * np.sin(angle), away * np.cos(angle))
        swing = (rng.uniform(0.15, 0.45), rng.uniform(1, 2.5))
        blobs.append(_blob(rng, size, centre, 0.1, swing))
        reach = max(reach, away + 2 * size)
    return Shape(tuple(blobs), reach)


def _blob(
    rng: np.random.Generator,
    radius: float,
    centre: tuple[float, float],
    wave: float,
    swing: tuple[float, float] = (0.0, 0.0),
) -> Blob:
    k = len(_WAVES)
    return Blob(
        radius=radius,
        centre=centre,
        amplitudes=wave * rng.uniform(0.4, 1, k) * 2 / _WAVES,
        phases=rng.uniform(0, 2 * np.pi, k),
        rates=rng.uniform(-1.2, 1.2, k),
        swing=swing,
        stretch=rng.uniform(0.85, 1.18),
    )
