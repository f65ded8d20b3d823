"""Natural-looking textures from noise of several octaves, uint8 colours out, NumPy only."""

import numpy as np
from scipy import ndimage

_OCTAVE_GAIN = 0.55  # strength of an octave against the next coarser one
_GRAIN = 0.1  # how far fine noise darkens and brightens a texture
_KINDS = ("clouds", "stripes", "spots", "marble")


def noise(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int
) -> np.ndarray:
    """Smooth noise, float32 [height, width], mean 0, standard deviation 1.

    cell: side of the coarsest lattice in px; every further octave halves it.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        side = max(cell / 2**octave, 1.5)
        shape = (int(height / side) + 4, int(width / side) + 4)
        lattice = rng.standard_normal(shape).astype(np.float32)
        # A random offset keeps the lattices of the octaves from lining up.
        rows = np.arange(height, dtype=np.float32) / side + rng.random() + 0.5
        columns = np.arange(width, dtype=np.float32) / side + rng.random() + 0.5
        total += _OCTAVE_GAIN**octave * _bilinear(lattice, _ease(rows), _ease(columns))
    return (total - total.mean()) / (total.std() + 1e-6)


def texture(
    rng: np.random.Generator, height: int, width: int, colours: np.ndarray, cell: float
) -> np.ndarray:
    """A coloured texture, float32 [height, width, 3] in 0 … 1.

    colours: [K, 3] in 0 … 1, mixed by a pattern of one of four kinds (clouds, stripes, spots,
    marble). cell: size of the coarsest features in px.
    """
    pattern = _pattern(rng, _KINDS[rng.integers(len(_KINDS))], height, width, cell)
    # Ranks spread evenly, so that every colour covers about the same area.
    place = _spread(pattern) * (len(colours) - 1)
    low = np.minimum(place.astype(int), len(colours) - 2)
    mix = _ease_step(place - low)[..., None]
    order = rng.permutation(len(colours))
    picture = colours[order][low] * (1 - mix) + colours[order][low + 1] * mix
    grain = noise(rng, height, width, cell / 3, 4)
    return np.clip(picture * (1 + _GRAIN * grain[..., None]), 0, 1).astype(np.float32)


def palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours that go together, float32 [count, 3] in 0 … 1: earth, leaf and sky."""
    hues = (rng.uniform(0.02, 0.14) + np.array([0.0, 0.05, 0.22, 0.46, 0.52])) % 1
    values = np.linspace(0.26, 0.86, count)[rng.permutation(count)]
    colours = []
    for i, value in enumerate(values):
        saturation = rng.uniform(0.12, 0.5)
        sector = np.array([5, 3, 1]) + hues[i % len(hues)] * 6
        k = sector % 6
        colours.append(value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.array(colours, np.float32)


def _pattern(
    rng: np.random.Generator, kind: str, height: int, width: int, cell: float
) -> np.ndarray:
    base = noise(rng, height, width, cell, 4)
    if kind == "clouds":
        return base
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / cell
    if kind == "stripes":
        return np.sin(2 * np.pi * 1.6 * along + 0.9 * base) + 0.35 * base
    if kind == "marble":
        return np.abs(noise(rng, height, width, cell * 1.3, 3)) + 0.3 * base
    across = (columns * np.sin(angle) - rows * np.cos(angle)) / cell
    wobble = 0.8 * base
    return np.sin(2 * np.pi * along + wobble) * np.sin(2 * np.pi * across + wobble) + 0.3 * base


def _spread(values: np.ndarray) -> np.ndarray:
    """Each value's share of the values below it, in 0 … 1."""
    edges = np.quantile(values[::2, ::2], np.linspace(0, 1, 65))
    return np.interp(values, edges, np.linspace(0, 1, 65)).astype(np.float32)


def _ease(positions: np.ndarray) -> np.ndarray:
    whole = np.floor(positions)
    return whole + _ease_step(positions - whole)


def _ease_step(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)


def _bilinear(lattice: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The lattice at the crossings of rows and columns, float32 [len(rows), len(columns)]."""
    tall = _interpolate(lattice, rows)
    return _interpolate(np.ascontiguousarray(tall.T), columns).T


def _interpolate(lattice: np.ndarray, rows: np.ndarray) -> np.ndarray:
    low = rows.astype(int)
    mix = (rows - low)[:, None].astype(np.float32)
    return lattice[low] * (1 - mix) + lattice[low + 1] * mix


def sample(canvas: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The colours of canvas [h, w, 3] at positions [...], bilinear, mirrored at its border."""
    return np.stack(
        [
            ndimage.map_coordinates(canvas[..., c], (rows, columns), order=1, mode="mirror")
            for c in range(3)
        ],
        axis=-1,
    )
