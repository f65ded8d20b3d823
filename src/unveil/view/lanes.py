"""How masks and their objects travel to the page: run lengths, lanes of areas, colours."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Integer

from unveil.results.palette import colour_index, vivid_palette


def run_lengths(labels: Integer[np.ndarray, "H W"]) -> bytes:
    """Labels row by row as little-endian words of 32 bits: id in the upper 12, length below."""
    flat = labels.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=len(flat))
    ids = flat[starts].astype(np.uint32)
    most = (1 << 20) - 1
    pieces = -(-lengths // most)
    if (pieces > 1).any():
        ids = np.repeat(ids, pieces)
        last = np.cumsum(pieces) - 1
        rest = lengths - (pieces - 1) * most
        lengths = np.full(len(ids), most)
        lengths[last] = rest
    return ((ids << np.uint32(20)) | lengths.astype(np.uint32)).astype("<u4").tobytes()


def unroll(words: bytes, shape: tuple[int, int]) -> Integer[np.ndarray, "H W"]:
    """What `run_lengths` was made of."""
    runs = np.frombuffer(words, "<u4")
    return np.repeat((runs >> 20).astype(np.uint16), runs & ((1 << 20) - 1)).reshape(shape)


def presence(areas: Integer[np.ndarray, " t"], total: int) -> dict[str, Any]:
    """Where something is seen: stretches of frames, its area a frame in 255ths of its largest."""
    seen = np.concatenate(([0], (areas > 0).astype(int), [0]))
    change = np.diff(seen)
    stretches = np.stack((np.flatnonzero(change > 0), np.flatnonzero(change < 0)), 1)
    most = int(areas.max(initial=0))
    levels = np.ceil(areas * 255 / max(most, 1)).astype(np.uint8)
    return {
        "seen": stretches.tolist(),
        "areas": base64.b64encode(levels.tobytes()).decode(),
        "largest": most / total,
    }


def colour_of(id: int) -> str:
    """The colour of an object that nobody gave one, #rrggbb."""
    entry = colour_index(np.array([id], np.uint16))[0]
    return "#" + bytes(vivid_palette()[entry]).hex()
