"""The figure as a page: one file that opens without a server and asks for nothing from outside."""

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from unveil.figures.look import Look
from unveil.figures.sheet import marked
from unveil.files import written_whole
from unveil.results.heat import heat_maps


def write_page(path: Path, look: Look) -> None:
    """Write the page, whole or not at all: frames over time, heads one by one."""
    loader = PackageLoader("unveil", "figures")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("page.html").render(
        name=look.name,
        seconds=f"{look.seconds[look.at[0]]:.2f}",
        heads=max(len(panel.heads) for panel in look.panels),
        shown={
            "seconds": look.seconds,
            "pressed": look.at[0],
            "wait": 1000 * float(1 / look.rate),
            "frames": [_inline(frame, "JPEG") for frame in marked(look)],
            "panels": [
                {
                    "name": panel.name,
                    "title": panel.title,
                    # The mean first, then head by head.
                    "maps": [_maps(maps) for maps in (panel.maps, *panel.heads)],
                }
                for panel in look.panels
            ],
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _maps(maps: np.ndarray) -> list[str]:
    return [_inline(picture, "PNG") for picture in heat_maps(maps)]


def _inline(picture: np.ndarray, kind: str) -> str:
    """A picture, uint8 [H, W, 3], as an address that holds it whole."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
