"""The contact sheet: a row of frames over a row of segmentations, readable at a glance."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unveil.results.overlay import Colours, paint
from unveil.results.palette import colour_index, vivid_palette

_COLUMNS = 8
_HELD = 8 * _COLUMNS  # thumbnails in memory at most; with more, every other one is dropped
_SIDE = 240  # px, longest side of a thumbnail
_GAP = 6
_STRIP = 46  # height of the title
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (120, 120, 124)
_ALPHA, _DIM = 0.72, 0.45  # opacity of objects, brightness of the background around them
_CHIPS = 12  # objects named in the title


class ContactSheet:
    """Collects small copies of frames and labels as they go by, and draws them at the end.

    How many frames will come is not known, so it holds every n-th and doubles n when it holds
    too many: memory stays flat, the spacing even.
    """

    def __init__(self, name: str, colours: Colours = ()) -> None:
        self._name, self._colours = name, colours
        self._stride = 1
        self._seen = 0
        self._held: list[tuple[int, Image.Image, np.ndarray]] = []

    def add(self, frame: np.ndarray, labels: np.ndarray) -> None:
        """Take the next frame, uint8 [H, W, 3], and its labels [H, W]."""
        if self._seen % self._stride == 0:
            if len(self._held) == _HELD:
                self._held = self._held[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._held.append((self._seen, *_thumbnail(frame, labels)))
        self._seen += 1

    def shown(self) -> list[tuple[int, Image.Image, np.ndarray]]:
        """The frames to draw, evenly spaced: index, small frame, small labels."""
        held = self._held
        wanted = np.linspace(0, len(held) - 1, min(_COLUMNS, len(held))).round().astype(int)
        return [held[i] for i in wanted]

    def draw(self, scores: Mapping[int, float], shots: Sequence[int] = (0,)) -> Image.Image:
        """The sheet, RGB. scores: id → score of the objects that the title names. shots: the first
        frame of each; a line parts those that follow each other.
        """
        shown = self.shown()
        w, h = shown[0][1].size
        columns = max(len(shown), -(-480 // (w + _GAP)))  # a title needs some width
        sheet = Image.new(
            "RGB",
            (_GAP + columns * (w + _GAP), _STRIP + 2 * (h + _GAP)),
            _PAPER,
        )
        for column, (index, frame, labels) in enumerate(shown):
            x = _GAP + column * (w + _GAP)
            sheet.paste(frame, (x, _STRIP))
            painted = paint(np.asarray(frame), labels, _ALPHA, _DIM, self._colours)
            sheet.paste(Image.fromarray(painted), (x, _STRIP + h + _GAP))
            _stamp(sheet, (x, _STRIP), str(index))
            if column and bisect_right(shots, index) > bisect_right(shots, shown[column - 1][0]):
                middle = x - _GAP // 2
                line = (middle - 1, _STRIP, middle, _STRIP + 2 * h + _GAP)
                ImageDraw.Draw(sheet).rectangle(line, fill=_INK)
        self._title(sheet, scores, len(shots))
        return sheet

    def _title(self, sheet: Image.Image, scores: Mapping[int, float], shots: int) -> None:
        draw = ImageDraw.Draw(sheet)
        bold, plain = ImageFont.load_default(22), ImageFont.load_default(15)
        x: float = 2 * _GAP
        middle = _STRIP // 2
        draw.text((x, middle), self._name, _INK, bold, anchor="lm")
        x += draw.textlength(self._name, bold) + 3 * _GAP
        about = f"{_count(len(scores), 'object')}   {_count(self._seen, 'frame')}"
        about += f"   {_count(shots, 'shot')}" * (shots > 1)
        draw.text((x, middle + 2), about, _FAINT, plain, anchor="lm")
        x += draw.textlength(about, plain) + 5 * _GAP
        for id in sorted(scores)[:_CHIPS]:
            text = f"{id}"
            if x + 24 + draw.textlength(text, plain) > sheet.width - _GAP:
                break
            colour = dict(self._colours).get(id) or tuple(vivid_palette()[_entry(id)].tolist())
            draw.rounded_rectangle((x, middle - 8, x + 16, middle + 8), 4, colour)
            draw.text((x + 22, middle + 1), text, _INK, plain, anchor="lm")
            x += 22 + draw.textlength(text, plain) + 3 * _GAP


def _entry(id: int) -> int:
    return int(colour_index(np.array([id], np.uint16))[0])


def _thumbnail(frame: np.ndarray, labels: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    h, w = labels.shape
    scale = min(1, _SIDE / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    photo = Image.fromarray(np.ascontiguousarray(frame))
    small = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    rows = ((np.arange(size[1]) + 0.5) * h / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * w / size[0]).astype(int)
    return small, labels[np.ix_(rows, columns)]


def _stamp(sheet: Image.Image, corner: tuple[int, int], text: str) -> None:
    """The frame's number in a corner of its thumbnail."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    x, y = corner
    width = draw.textlength(text, font)
    draw.rectangle((x, y, x + width + 8, y + 17), (0, 0, 0))
    draw.text((x + 4, y + 9), text, (255, 255, 255), font, anchor="lm")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
