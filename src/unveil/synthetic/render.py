"""Rendered clips with exact masks: textured, bending objects over a moving textured ground.

Colours are shared between the objects and the ground, so that what tells an object apart is its
texture, its outline and its motion: clustering colours fails here. Same seed, same bytes.

    clip = render(seed=3, scenario="occlusion")
    clip.frames, clip.labels
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from unveil.errors import InputError
from unveil.synthetic.scenario import SCENARIOS, Actor, cast
from unveil.synthetic.shape import Shape, random_shape
from unveil.synthetic.texture import noise, palette, sample, texture

_LEAST = 32  # px; a smaller picture has no room for objects
_COLOURS = 6  # of a clip, for its objects and its ground together
_MARGIN = 0.3  # of the picture's size that the camera may wander over on each side
_HAZE = 0.25  # how far the ground's colours draw together, as things far away do
_SHADOW = 0.45  # darkness under an object
_SHADOW_SOFT = 0.14  # how far its edge fades, as a share of the object's reach
_GRAIN = 0.012  # standard deviation of the camera's noise


class Rendered(NamedTuple):
    """A clip: frames uint8 [T, H, W, 3] RGB and labels uint8 [T, H, W], 0 the ground."""

    frames: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]


def render(
    seed: int = 0,
    frames: int = 24,
    height: int = 192,
    width: int = 320,
    *,
    objects: int = 3,
    scenario: str = "calm",
) -> Rendered:
    """Draw one clip.

    Args:
        seed: everything that is drawn depends on it.
        frames: how many; the motion is spread over them.
        height, width: in px, at least 32.
        objects: how many, 1 … 20; object i of the scenario has label i in every frame.
        scenario: see `unveil.synthetic.scenario.Scenario`.
    """
    if frames < 1 or min(height, width) < _LEAST:
        raise InputError(
            f"expected at least 1 frame of {_LEAST}x{_LEAST}, got {frames} of {width}x{height}"
        )
    rng = np.random.default_rng(seed)
    times = np.linspace(0, 1, frames)
    actors = cast(scenario, objects, rng)
    colours = palette(rng, _COLOURS)
    ground = _Ground(rng, height, width, colours)
    bodies = [_Body(rng, actor, times, height, width, colours) for actor in actors]
    far_to_near = sorted(range(objects), key=lambda i: -actors[i].depth)
    light = 0.5 + 0.5 * np.tanh(noise(rng, height, int(1.2 * width), width / 2, 1))
    pictures = np.empty((frames, height, width, 3), np.uint8)
    labels = np.zeros((frames, height, width), np.uint8)
    for t, time in enumerate(times):
        picture = ground.draw(time)
        for i in far_to_near:
            bodies[i].draw(picture, labels[t], i + 1, t, time)
        pictures[t] = _expose(picture, light, time, rng)
    return Rendered(pictures, labels)


def benchmark(sequences: int, seed: int = 0) -> list[dict[str, Any]]:
    """The arguments of `render` for each clip of the benchmark, the scenarios in turn."""
    rng = np.random.default_rng(seed)
    recipes = []
    for i in range(sequences):
        scenario = SCENARIOS[i % len(SCENARIOS)]
        objects = int(rng.integers(5, 8)) if scenario == "crowd" else int(rng.integers(2, 5))
        recipes.append({"seed": seed * 1000 + i, "objects": objects, "scenario": scenario})
    return recipes


class _Ground:
    """A large textured plane under a camera that drifts, turns and zooms a little."""

    def __init__(
        self, rng: np.random.Generator, height: int, width: int, colours: np.ndarray
    ) -> None:
        self.height, self.width = height, width
        tall, wide = int(height * (1 + 2 * _MARGIN)), int(width * (1 + 2 * _MARGIN))
        short = min(height, width)
        # Two textures in large patches, so that the ground is not one colour statistic either.
        one = texture(rng, tall, wide, colours[:4], short / rng.uniform(1.2, 2.5))
        two = texture(rng, tall, wide, colours[2:], short / rng.uniform(1.2, 2.5))
        patches = ndimage.gaussian_filter(
            (noise(rng, tall, wide, short / 1.5, 3) > 0).astype(np.float32), 1.5
        )
        mixed = one + (two - one) * patches[..., None]
        self.canvas = mixed + (mixed.mean((0, 1)) - mixed) * _HAZE
        self.drift = rng.uniform(-0.7, 0.7, 2) * _MARGIN * np.array([height, width])
        self.sway = rng.uniform(0.01, 0.04) * short
        self.turn, self.zoom = rng.uniform(-0.06, 0.06), rng.uniform(-0.08, 0.08)
        self.phase = rng.uniform(0, 2 * np.pi)

    def draw(self, time: float) -> np.ndarray:
        """What the camera sees of it, float32 [height, width, 3] in 0 … 1."""
        when = time - 0.5
        angle, scale = self.turn * when, 1 + self.zoom * when
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        shift = self.drift * when + self.sway * np.sin(
            np.array([2.3, 3.1]) * 2 * np.pi * time + self.phase
        )
        middle = np.array([self.height, self.width]) / 2
        offset = np.array(self.canvas.shape[:2]) / 2 + shift - turn @ middle
        picture = np.empty((self.height, self.width, 3), np.float32)
        for c in range(3):
            ndimage.affine_transform(
                self.canvas[..., c], turn, offset, output=picture[..., c], order=1, mode="mirror"
            )
        return picture


class _Body:
    """An object: a shape with a texture on its way through the clip."""

    def __init__(
        self,
        rng: np.random.Generator,
        actor: Actor,
        times: np.ndarray,
        height: int,
        width: int,
        colours: np.ndarray,
    ) -> None:
        radius = actor.size * min(height, width)
        self.shape: Shape = random_shape(rng, radius, actor.solid)
        self.places = actor.at(times) * np.array([height, width])
        swell = 0.0 if actor.solid else rng.uniform(0.05, 0.15)
        self.scales = 1 + swell * np.sin(2 * np.pi * (times * rng.uniform(0.5, 1.2) + rng.random()))
        self.angles = rng.uniform(0, 2 * np.pi) + rng.uniform(-1.3, 1.3) * times
        side = int(2 * self.shape.radius) + 4
        mine = colours[rng.permutation(len(colours))[:3]]
        self.canvas = texture(rng, side, side, mine, max(4.0, radius * rng.uniform(0.5, 1.1)))

    def draw(self, picture: np.ndarray, labels: np.ndarray, id: int, t: int, time: float) -> None:
        """Paint it over picture [H, W, 3] and labels [H, W], in place."""
        height, width = labels.shape
        (y, x), scale = self.places[t], self.scales[t]
        reach = self.shape.radius * scale * (1 + 2 * _SHADOW_SOFT) + 2
        top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
        if top >= bottom or left >= right:
            return
        rows, columns = np.mgrid[top:bottom, left:right] - np.array([y, x])[:, None, None]
        cos, sin = np.cos(self.angles[t]) / scale, np.sin(self.angles[t]) / scale
        v, u = rows * cos + columns * sin, columns * cos - rows * sin
        cover = self.shape.coverage(v, u, time)
        half = self.canvas.shape[0] / 2
        colour = sample(self.canvas, v + half, u + half)
        colour *= self._shade(v, u, rows, columns, time, reach)[..., None]
        part = (slice(top, bottom), slice(left, right))
        fall = 0.08 * self.shape.radius
        under = self.shape.coverage(
            v - fall * (cos + sin) * scale,
            u - fall * (cos - sin) * scale,
            time,
            soft=_SHADOW_SOFT * self.shape.radius,
        )
        picture[part] *= 1 - _SHADOW * under[..., None]
        picture[part] += (colour - picture[part]) * cover[..., None]
        labels[part][cover >= 0.5] = id

    def _shade(
        self,
        v: np.ndarray,
        u: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        time: float,
        reach: float,
    ) -> np.ndarray:
        """Darker towards the rim and away from a light above on the left, as on a round body."""
        rim = 0.72 + 0.36 * np.sqrt(self.shape.depth(v, u, time))
        return rim * (1.03 - 0.16 * (rows + columns) / reach)


def _expose(
    picture: np.ndarray, light: np.ndarray, time: float, rng: np.random.Generator
) -> np.ndarray:
    """The picture under a light that moves, with the softness and noise of a camera."""
    _, width, _ = picture.shape
    start = int(time * (light.shape[1] - width))
    moving = light[:, start : start + width]
    lit = picture * (0.82 + 0.3 * moving)[..., None]
    lit = ndimage.gaussian_filter(lit, (0.45, 0.45, 0))
    lit += rng.normal(0, _GRAIN, lit.shape).astype(np.float32)
    return (np.clip(lit, 0, 1) * 255 + 0.5).astype(np.uint8)
