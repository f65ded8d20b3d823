"""A line chart, small and plain: numbers against the step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (28, 28, 30), (110, 110, 114), (228, 228, 228)
_COLOURS = ((32, 96, 200), (214, 80, 40), (40, 150, 90))
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 26  # px around the plot
_TICKS = 4


@dataclass(frozen=True)
class Line:
    """A curve: its name, and points (step, value) with the step ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_chart(title: str, lines: Sequence[Line], size: tuple[int, int]) -> Image.Image:
    """The lines on one pair of axes that begin at 0, RGB of a size (width, height) in px."""
    width, height = size
    image = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    points = [p for line in lines for p in line.points]
    last = max((x for x, _ in points), default=0.0) or 1.0
    top = nice_ceiling(max((y for _, y in points), default=0.0))
    right, bottom = width - _RIGHT, height - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / last * (right - _LEFT), bottom - y / top * (bottom - _TOP)

    for i in range(_TICKS + 1):
        value, step = top * i / _TICKS, last * i / _TICKS
        (x, _), (_, y) = place(step, 0.0), place(0.0, value)
        draw.line((_LEFT, y, right, y), _GRID)
        draw.text(
            (_LEFT - 6, y),
            f"{value:,.0f}" if value >= 1000 else f"{value:.3g}",
            _FAINT,
            font,
            anchor="rm",
        )
        anchor = "rm" if i == _TICKS else "mm"
        draw.text((x, bottom + 13), f"{step:,.0f}", _FAINT, font, anchor=anchor)
    draw.text((_LEFT, 16), title, _INK, ImageFont.load_default(15), anchor="lm")
    at = right
    for line, colour in zip(lines, _COLOURS, strict=False):
        path = [place(x, y) for x, y in line.points]
        draw.line(path, colour, 2, joint="curve")
        for x, y in path if len(path) < 20 else ():
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        draw.text((at, 16), line.name, colour, font, anchor="rm")
        at -= draw.textlength(line.name, font) + 16
    return image


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 4, 5, 8 or 10 times a power of ten that is not below a value."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 4, 5, 8, 10) if m * power >= value * (1 - 1e-9))
