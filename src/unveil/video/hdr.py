"""High dynamic range to the range of a screen, so that HDR videos look as they were meant to.

Signals of ITU-R BT.2100 (PQ of SMPTE ST 2084, or HLG) are turned to light, a colour of the wide
gamut to BT.709, and light to sRGB: diffuse white, 203 cd/m² by ITU-R BT.2408, becomes white, and
what is brighter rolls off towards it.
"""

from functools import cache

import av
import numpy as np
from av.video.reformatter import VideoReformatter

PQ, HLG = 16, 18  # transfer characteristics, ITU-T H.273
_BT2020 = 9  # colour primaries, ITU-T H.273
_WHITE = 203.0  # cd/m², ITU-R BT.2408
_PEAK = 1000.0  # cd/m², the nominal display that HLG is made for
_KNEE = 0.8  # of white: darker light is kept as it is
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)  # linear BT.2020 to BT.709, ITU-R BT.2087


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame says that it is PQ or HLG."""
    return frame.color_trc in (PQ, HLG)


def tone_mapped(frame: av.VideoFrame, convert: VideoReformatter) -> np.ndarray:
    """A frame of PQ or HLG as uint8 [H, W, 3] sRGB. About 0.1 s for 1920x1080."""
    signal = convert.reformat(frame, format="rgb48le").to_ndarray()
    light = _light(int(frame.color_trc))[signal]
    if frame.color_trc == HLG:  # the opto-optical transfer of BT.2100: gamma 1.2 on the luminance
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (np.maximum(luminance, 1e-6) ** 0.2)[..., None] * (_PEAK / _WHITE)
    if frame.color_primaries in (_BT2020, 0, 2):  # 0, 2: not said, then BT.2100 means BT.2020
        light = light @ _TO_BT709.T
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    room = 1 - _KNEE
    rolled = _KNEE + room * (1 - np.exp(-(brightest - _KNEE) / room))
    light *= np.where(brightest > _KNEE, rolled / brightest, 1)  # all channels alike: hue is kept
    return _srgb()[(light.clip(0, 1) * 65535 + 0.5).astype(np.uint16)]


@cache
def _light(transfer: int) -> np.ndarray:
    """The linear light of every 16-bit signal, white is 1; of HLG the scene's, 0 … 1."""
    e = np.linspace(0, 1, 1 << 16)
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 32
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        p = e ** (1 / m2)
        light = 10000 / _WHITE * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(e <= 0.5, e**2 / 3, (np.exp((e - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _srgb() -> np.ndarray:
    """The sRGB value, uint8, of every 16-bit linear one."""
    x = np.linspace(0, 1, 1 << 16)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)
