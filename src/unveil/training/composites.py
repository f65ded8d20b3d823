"""Composites: things cut out of some clips, pasted into the frames of others, truth exact.

A composite is a background and layers on it, the last in front. What each pixel shows of a layer
is its alpha times what all in front of it let through, so the truth of a patch, how much of it is
which thing, is a mean of known numbers and no guess. Everything here is arithmetic on arrays;
what is pasted where is drawn in `scenes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

SHADOW_DEPTH = 0.5
"""Share of the light that the darkest part of a shadow takes away."""


@dataclass(frozen=True)
class Layer:
    """A thing on the canvas of a composite, moved, scaled and coloured already.

    pixels: RGB, 0 … 255. alpha: 0 … 1, how much of a pixel it covers. thing: its number among the
    things of the composite, 0 …; several layers may be one thing. None: scenery, which covers
    things and is none. shade: 0 … 1 of the light that it takes from what lies behind it.
    """

    pixels: Float[np.ndarray, "t H W 3"]
    alpha: Float[np.ndarray, "t H W"]
    thing: int | None
    shade: Float[np.ndarray, "t H W"] | None = None


@dataclass(frozen=True)
class Composite:
    """Frames, and how much of each patch is which thing.

    shares: of thing k in a patch, 0 … 1; they sum to at most 1, the rest is scenery. unsure: how
    much of a patch is something of which nothing is known; it belongs to no share. own: how many of
    the things, the first ones, were in the background already.
    """

    frames: UInt8[np.ndarray, "t H W 3"]
    shares: Float[np.ndarray, "k t h w"]
    unsure: Float[np.ndarray, "t h w"]
    own: int = 0


def compose(
    background: UInt8[np.ndarray, "t H W 3"],
    unsure: Float[np.ndarray, "t H W"],
    layers: Sequence[Layer],
    patch: int,
) -> Composite:
    """Paste the layers in their order on a background; sides are whole patches.

    unsure: 0 … 1, where the background holds what may or may not be a thing.
    """
    t, height, width, _ = background.shape
    things = 1 + max((x.thing for x in layers if x.thing is not None), default=-1)
    frames = background.astype(np.float32)
    seen = np.zeros((things, t, height, width), np.float32)
    unsure = unsure.astype(np.float32).copy()
    for layer in layers:
        if layer.shade is not None:
            frames *= 1 - layer.shade[..., None]
        through = 1 - layer.alpha
        frames = frames * through[..., None] + layer.pixels * layer.alpha[..., None]
        seen *= through
        unsure *= through
        if layer.thing is not None:
            seen[layer.thing] += layer.alpha
    pixels = frames.round().clip(0, 255).astype(np.uint8)
    return Composite(pixels, patch_means(seen, patch), patch_means(unsure, patch))


def patch_means(x: Float[np.ndarray, "*n H W"], patch: int) -> Float[np.ndarray, "*n h w"]:
    """The mean of every square patch."""
    *n, height, width = x.shape
    return x.reshape(*n, height // patch, patch, width // patch, patch).mean((-3, -1))


def shadow(
    alpha: Float[np.ndarray, "t H W"], shift: tuple[float, float], blur: float, depth: float
) -> Float[np.ndarray, "t H W"]:
    """The shade that a thing casts: its own outline, shifted (down, right; px) and blurred."""
    from scipy.ndimage import gaussian_filter
    from scipy.ndimage import shift as moved

    cast = moved(alpha, (0, *shift), order=1)
    return (depth * gaussian_filter(cast, (0, blur, blur))).astype(np.float32)
