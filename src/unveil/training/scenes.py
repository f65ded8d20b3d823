"""What is pasted where: scenes of a few things, drawn from the cut-outs of many clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy import ndimage
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.training.composites import SHADOW_DEPTH, Composite, Layer, compose, shadow
from unveil.training.cutouts import CutOut

TRIES = 12
"""Places tried for a thing, of which the first that hides nothing too much is taken."""
HIDDEN = 0.75
"""Share of a thing's area that those in front of it may hide."""


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are drawn. Shares are probabilities."""

    fewest: int = 1
    most: int = 6
    """Things a scene."""
    empty: float = 0.06
    """Of scenes without a pasted thing."""
    same: float = 0.6
    """Of scenes that show one thing several times."""
    touching: float = 0.7
    """Of a thing being placed beside one that is there, touching or before it."""
    smallest: float = 0.07
    largest: float = 0.8
    """Size of a thing, root of its area over the frame's height, log-uniform between these."""
    upscale: float = 1.6
    """A thing is magnified by no more than this, for it would be blurred."""
    jitter: float = 0.15
    """Of brightness and of each colour, ±, drawn for each thing."""
    match: float = 0.5
    """How far the brightness of a thing follows that of where it is pasted."""
    feather: float = 1.0
    """Of edges, px: the largest standard deviation of their blur."""
    shadows: float = 0.4
    """Of a thing casting a shadow."""
    behind: float = 0.3
    """Of a thing being pasted behind what the background shows in front."""
    motion: float = 0.03
    """Of things from frame to frame, in frame heights, standard deviation."""

    def __post_init__(self) -> None:
        check_fields(self, error=TrainingError)


def draw_scene(
    background: UInt8[np.ndarray, "t H W 3"],
    own: Float[np.ndarray, "k t H W"],
    unsure: Float[np.ndarray, "t H W"],
    pool: Sequence[CutOut],
    settings: SceneSettings,
    patch: int,
    rng: np.random.Generator,
) -> Composite:
    """A composite on a background, of things drawn from a pool.

    own: what the background is known to show, as masks 0 … 1; it keeps things' numbers 0 … k - 1.
    unsure: where it may show more. The same generator state gives the same scene.
    """
    k = len(own)
    layers = [Layer(background.astype(np.float32), mask, i) for i, mask in enumerate(own)]
    things: list[Layer] = []
    for cut, of_scene in _choose(pool, settings, rng):
        layer = _place(cut, of_scene, background, things, k + len(things), settings, rng)
        if layer is not None:
            things.append(layer)
    behind = bool(len(own)) and rng.random() < settings.behind
    ordered = things + layers if behind else layers + things
    return replace(compose(background, unsure, ordered, patch), own=k)


def _choose(
    pool: Sequence[CutOut], settings: SceneSettings, rng: np.random.Generator
) -> list[tuple[CutOut, float]]:
    """The cut-outs of a scene, and of each the size that it is to have."""
    if not len(pool) or rng.random() < settings.empty:
        return []
    count = int(rng.integers(settings.fewest, settings.most + 1))
    low, high = np.log(settings.smallest), np.log(settings.largest / max(1, count) ** 0.35)
    size = float(np.exp(rng.uniform(low, high)))
    first = pool[int(rng.integers(len(pool)))]
    repeats = rng.random() < settings.same
    chosen = []
    for i in range(count):
        again = i == 0 or (repeats and rng.random() < 0.85)
        cut = first if again else pool[int(rng.integers(len(pool)))]
        if again:
            # Others of its kind: the same clip's cut-outs stand in for a second one of it.
            kin = [c for c in pool if c.source == first.source]
            cut = kin[rng.integers(len(kin))] if rng.random() < 0.5 else first
        chosen.append((cut, size * float(np.exp(rng.normal(0, 0.25)))))
    return chosen


def _place(
    cut: CutOut,
    size: float,
    background: np.ndarray,
    others: Sequence[Layer],
    number: int,
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Layer | None:
    """A cut-out as a layer, scaled, mirrored, coloured and put somewhere; None if nowhere fits."""
    t, height, width, _ = background.shape
    pixels, mask, sides = _frames_of(cut, t, rng)
    if rng.random() < 0.5:
        pixels, mask = pixels[:, :, ::-1], mask[:, :, ::-1]
        sides = (sides[0], sides[3], sides[2], sides[1])
    area = float(mask.sum()) / t
    scale = min(size * height / max(area, 1.0) ** 0.5, settings.upscale)
    if sum(sides) > 2:  # it filled its frame: keep it about as large
        scale = max(scale, 0.7 * height / cut.frame[0])
    pixels, alpha = _scaled(pixels, mask, scale, settings.feather * rng.random())
    drift = np.cumsum(rng.normal(0, settings.motion * height, (t, 2)), 0)
    drift -= drift[0]
    for _ in range(TRIES):
        top, left = _corner(alpha.shape[1:], sides, (height, width), others, settings, rng)
        canvas = [
            _on_canvas(a, top + d[0], left + d[1], height, width)
            for a, d in zip(alpha, drift, strict=True)
        ]
        whole = np.stack(canvas)
        if whole.sum() < 0.5 * alpha.sum() and not any(sides):
            continue
        if all(_shows(o.alpha, whole) for o in others):
            break
    else:
        return None
    colours = np.stack(
        [
            _on_canvas(p, top + d[0], left + d[1], height, width)
            for p, d in zip(pixels, drift, strict=True)
        ]
    )
    colours = _coloured(colours, whole, background, settings, rng)
    shade = None
    if rng.random() < settings.shadows and not any(sides):
        reach = 0.04 * height
        shift = (rng.uniform(0, reach), rng.uniform(-reach, reach))
        shade = shadow(whole, shift, rng.uniform(0.2, 1) * reach, SHADOW_DEPTH * rng.random())
    return Layer(colours, whole, number, shade)


def _frames_of(
    cut: CutOut, t: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[bool, ...]]:
    """So many neighbouring frames of a cut-out, forward or back; the last repeated if too few."""
    have = len(cut.mask)
    start = int(rng.integers(max(1, have - t + 1)))
    order = np.minimum(np.arange(start, start + t), have - 1)
    if rng.random() < 0.5:
        order = order[::-1]
    pixels, mask = cut.pixels[order], cut.mask[order]
    return pixels, mask, cut.sides


def _scaled(
    pixels: np.ndarray, mask: np.ndarray, scale: float, feather: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and a soft alpha at another scale; the alpha is drawn in by what the blur spreads."""
    _, h, w = mask.shape
    size = max(2, round(h * scale)), max(2, round(w * scale))
    both = np.concatenate((pixels.astype(np.float32), 255.0 * mask[..., None]), -1)
    x = torch.from_numpy(np.ascontiguousarray(both)).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    scaled = x.permute(0, 2, 3, 1).numpy()
    alpha = scaled[..., 3] / 255
    padded = np.pad(alpha, ((0, 0), (4, 4), (4, 4)), mode="edge")
    soft = ndimage.gaussian_filter(padded, (0, 0.3 + feather, 0.3 + feather))[:, 4:-4, 4:-4]
    return scaled[..., :3], np.clip(1.6 * soft - 0.6, 0, 1).astype(np.float32)


def _corner(
    size: tuple[int, int],
    sides: tuple[bool, ...],
    frame: tuple[int, int],
    others: Sequence[Layer],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Top and left of a box: where the frame cut it, beside another thing, or anywhere."""
    (h, w), (height, width) = size, frame
    if others and rng.random() < settings.touching:
        mask = others[int(rng.integers(len(others)))].alpha[0] > 0.5
        y, x = np.where(mask)
        if len(y):
            # A point of its rim meets a point of the box, a little inside.
            at = rng.integers(len(y))
            angle = rng.uniform(0, 2 * np.pi)
            top = y[at] - h / 2 + 0.4 * h * np.sin(angle)
            left = x[at] - w / 2 + 0.4 * w * np.cos(angle)
        else:
            top, left = _between(0, height - h, rng), _between(0, width - w, rng)
    else:
        # What is larger than the frame hangs over it on both sides.
        top = _between(-0.15 * h, height - 0.85 * h, rng)
        left = _between(-0.15 * w, width - 0.85 * w, rng)
    if sides[2]:
        top = height - h
    elif sides[0]:
        top = 0
    if sides[3]:
        left = width - w
    elif sides[1]:
        left = 0
    return float(top), float(left)


def _on_canvas(x: np.ndarray, top: float, left: float, height: int, width: int) -> np.ndarray:
    """An image on an empty canvas, its corner at a whole pixel; what lies outside is cut off."""
    top, left = round(top), round(left)
    canvas = np.zeros((height, width, *x.shape[2:]), np.float32)
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(height, top + x.shape[0]), min(width, left + x.shape[1])
    if y0 < y1 and x0 < x1:
        canvas[y0:y1, x0:x1] = x[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


def _shows(other: np.ndarray, front: np.ndarray) -> bool:
    """Whether enough of a thing is left when another is pasted before it."""
    return bool((other * front).sum() <= HIDDEN * other.sum())


def _coloured(
    pixels: np.ndarray,
    alpha: np.ndarray,
    background: np.ndarray,
    settings: SceneSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """Pixels in other colours, nearer to the light of where they are."""
    mass = alpha.sum()
    if mass < 1:
        return pixels
    mine = (pixels.mean(-1) * alpha).sum() / mass
    there = (background.mean(-1) * alpha).sum() / mass
    gain = (np.clip((there + 20) / (mine + 20), 0.4, 2.0)) ** (settings.match * rng.random())
    gains = (
        gain
        * (1 + settings.jitter * rng.uniform(-1, 1))
        * (1 + 0.3 * settings.jitter * rng.uniform(-1, 1, 3))
    )
    return np.clip(pixels * gains, 0, 255).astype(np.float32)


def _between(a: float, b: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(min(a, b), max(a, b)))
