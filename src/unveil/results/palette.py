"""Colours of objects: the DAVIS palette for mask files, a vivid one for pictures."""

import colorsys
from functools import cache

import numpy as np

_HUES = (0, 130, 52, 215, 310, 182, 28, 265, 95, 340, 160, 240)  # degrees; first as in DAVIS
_TIERS = ((0.82, 1.0), (0.45, 1.0), (0.85, 0.62))  # saturation, value: full, pale, dark
_TURN = 5.3  # degrees by which the hues move on from tier to tier


@cache
def davis_palette() -> np.ndarray:
    """The palette of DAVIS and PASCAL VOC masks, uint8 [256, 3]; 0 is black.

    Bit j of an id's three lowest bits, then of the next three, and so on, becomes bit 7, 6, … of
    red, green and blue.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for j in range(8):
            bit = (ids >> (3 * j + channel)) & 1
            palette[:, channel] |= (bit << (7 - j)).astype(np.uint8)
    palette.setflags(write=False)
    return palette


@cache
def vivid_palette() -> np.ndarray:
    """Colours that are told apart on top of a picture, uint8 [256, 3]; 0 is black.

    The first six have the hues of the DAVIS palette, at full strength.
    """
    palette = np.zeros((256, 3), np.uint8)
    for id in range(1, 256):
        tier, place = divmod(id - 1, len(_HUES))
        hue = (_HUES[place] + _TURN * tier) % 360 / 360
        saturation, value = _TIERS[tier % len(_TIERS)]
        palette[id] = [round(255 * x) for x in colorsys.hsv_to_rgb(hue, saturation, value)]
    palette.setflags(write=False)
    return palette


def colour_index(labels: np.ndarray) -> np.ndarray:
    """Which colour an id has, uint8 of the same shape: ids above 254 use 1 … 254 again.

    0 stays 0 and 255 stays free, for lines between objects.
    """
    if labels.max(initial=0) < 255:
        return labels.astype(np.uint8, copy=False)
    return np.where(labels == 0, 0, (labels - 1) % 254 + 1).astype(np.uint8)
