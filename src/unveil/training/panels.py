"""The block's attention as pictures: the noise of the untrained block beside the trained one.

A line of the picture is a held-out clip: the first and the last frame of a window with a query
patch marked in the first, then, over both frames, the cosine similarity of the backbone's keys
with the query's, the query's row of the untrained block, and that of the trained one. Each map
runs from its own lowest value to its highest, as in the paper's figure.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from unveil.attention.block import Block
from unveil.attention.rows import Rows, cosine_rows
from unveil.files import written_whole
from unveil.training.clips import read_frames
from unveil.training.features import ClipFeatures
from unveil.training.trial import window_features, window_rows

_SIDE = 176  # px, width of a tile
_GAP, _STRIP = 4, 24
_PAPER, _INK, _MARK = (250, 250, 248), (28, 28, 30), (255, 60, 60)
_TITLES = ("query in the frame", "backbone, cosine", "block, untrained", "block, {} steps")


def draw_attention(
    path: Path, untrained: Block, block: Block, clips: Sequence[ClipFeatures], step: int
) -> None:
    """Write the picture of some clips, PNG, under a temporary name first."""
    lines = [_line(untrained, block, clip) for clip in clips]
    width = max(line.width for line in lines)
    sheet = Image.new("RGB", (width, _STRIP + sum(line.height for line in lines)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, title in enumerate(_TITLES):
        x = _GAP + 2 * i * (_SIDE + _GAP)
        draw.text((x, _STRIP // 2), title.format(f"{step:,}"), _INK, font, anchor="lm")
    y = _STRIP
    for line in lines:
        sheet.paste(line, (0, y))
        y += line.height
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        sheet.save(partial, "PNG")


def heat(values: Float[np.ndarray, "h w"], low: float, high: float) -> UInt8[np.ndarray, "h w 3"]:
    """Values as colours, from dark at `low` to light at `high`."""
    from matplotlib import colormaps  # takes long to import: only where it is drawn with

    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return colormaps["inferno"](share, bytes=True)[..., :3]


def _line(untrained: Block, block: Block, clip: ClipFeatures) -> Image.Image:
    h, w = clip.grid
    query = (h // 2) * w + w // 2  # the middle of the first frame, where films put their subject
    size = (_SIDE, max(1, round(_SIDE * h / w)))
    shown = clip.frames[0][0], clip.frames[0][-1]
    frames = read_frames(clip.clip, shown)
    tiles = [Image.fromarray(frames[i]).resize(size, Image.Resampling.BILINEAR) for i in shown]
    x, y = ((query % w + 0.5) * size[0] / w, (query // w + 0.5) * size[1] / h)
    ImageDraw.Draw(tiles[0]).ellipse((x - 5, y - 5, x + 5, y + 5), outline=_MARK, width=2)
    rows = cosine_rows(window_features(clip), 1), window_rows(untrained, clip)
    for made in (*rows, window_rows(block, clip)):
        tiles += [tile.resize(size, Image.Resampling.NEAREST) for tile in _maps(made, query)]
    line = Image.new("RGB", (_GAP + len(tiles) * (_SIDE + _GAP), size[1] + _GAP), _PAPER)
    for i, tile in enumerate(tiles):
        line.paste(tile, (_GAP + i * (_SIDE + _GAP), 0))
    return line


def _maps(rows: Rows, query: int) -> list[Image.Image]:
    """A query's row over the first and the last frame of a window, on one scale."""
    row = rows(0, 1)[query].unflatten(0, (rows.frames, rows.h, rows.w)).numpy()
    low, high = float(row.min()), float(np.quantile(row, 0.995))
    return [Image.fromarray(heat(row[i], low, high)) for i in (0, -1)]
