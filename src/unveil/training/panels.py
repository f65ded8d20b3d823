"""The block's attention as pictures: the noise of the untrained block beside the trained one.

A line of the picture is a held-out clip: the first and the last frame of a window with a query
patch marked in the first, then, over both frames, the cosine similarity of the backbone's keys
with the query's, the query's row of the untrained block, and that of the trained one. Each map
runs from its own lowest value to its highest, as in the paper's figure.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from unveil.attention.block import Block
from unveil.attention.maps import attention_of
from unveil.files import written_whole
from unveil.results.heat import heat_maps, mark
from unveil.training.clips import read_frames
from unveil.training.features import ClipFeatures
from unveil.training.trial import window_features

_SIDE = 176  # px, width of a tile
_GAP, _STRIP = 4, 24
_PAPER, _INK = (250, 250, 248), (28, 28, 30)
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


def _line(untrained: Block, block: Block, clip: ClipFeatures) -> Image.Image:
    h, w = clip.grid
    query = (0, h // 2, w // 2)  # the middle of the first frame, where films put their subject
    size = (_SIDE, max(1, round(_SIDE * h / w)))
    shown = clip.frames[0][0], clip.frames[0][-1]
    frames = read_frames(clip.clip, shown)
    tiles = [Image.fromarray(frames[i]).resize(size, Image.Resampling.BILINEAR) for i in shown]
    mark(tiles[0], query[1:], clip.grid)
    features = window_features(clip)
    for of in (None, untrained, block):
        maps = heat_maps(attention_of(features, query, of).numpy())
        ends = (Image.fromarray(maps[i]) for i in (0, -1))
        tiles += [tile.resize(size, Image.Resampling.NEAREST) for tile in ends]
    line = Image.new("RGB", (_GAP + len(tiles) * (_SIDE + _GAP), size[1] + _GAP), _PAPER)
    for i, tile in enumerate(tiles):
        line.paste(tile, (_GAP + i * (_SIDE + _GAP), 0))
    return line
