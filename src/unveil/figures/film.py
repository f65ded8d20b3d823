"""The figure as a movie: the frames as they play, and beside them each way of attending."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unveil.figures.look import Look
from unveil.figures.sheet import marked
from unveil.files import written_whole
from unveil.results.heat import heat_maps
from unveil.results.movie import Movie

_SIDE, _STRIP, _GAP = 426, 26, 4
_PAPER, _INK = (250, 250, 248), (28, 28, 30)


def write_film(path: Path, look: Look) -> None:
    """Write the movie, mp4, whole or not at all. The frame with the patch has it marked."""
    shown = [("frame", marked(look)), *((p.title, heat_maps(p.maps)) for p in look.panels)]
    columns = 2 if len(shown) <= 4 else 3
    _, height, width, _ = look.frames.shape
    size = (_SIDE, max(1, round(_SIDE * height / width)))
    cell = (size[0] + _GAP, size[1] + _STRIP + _GAP)
    whole = (columns * cell[0], -(-len(shown) // columns) * cell[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        movie = Movie(partial, look.rate, whole[1], whole[0])
        try:
            nothing = np.zeros(whole[::-1], np.uint8)
            for t, seconds in enumerate(look.seconds):
                sheet = Image.new("RGB", whole, _PAPER)
                draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
                for i, (title, pictures) in enumerate(shown):
                    x, y = i % columns * cell[0], i // columns * cell[1]
                    words = f"{title}, {seconds:.2f} s" if i == 0 else title
                    draw.text((x + _GAP, y + _STRIP // 2), words, _INK, font, anchor="lm")
                    tile = Image.fromarray(pictures[t]).resize(size, _resampling(i))
                    sheet.paste(tile, (x, y + _STRIP))
                movie.write(np.asarray(sheet), nothing)
        except BaseException:
            movie.abandon()
            raise
        movie.close()


def _resampling(place: int) -> Image.Resampling:
    return Image.Resampling.BILINEAR if place == 0 else Image.Resampling.NEAREST
