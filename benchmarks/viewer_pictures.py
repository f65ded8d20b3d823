"""The pictures of the viewer in README and `docs/view.md`, taken of the page itself.

python benchmarks/viewer_pictures.py [--result folder] [--out docs/images]

The clip is `carphone` of `unveil demo`, two seconds of it, default settings. Needs Chromium and
Playwright. A correction from beginning to end: a double-click makes the body an object, a
shift-click and M join the head to it, R names it, and it plays.
"""

import argparse
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page

from served import COMMAND, chromium, served
from unveil.features.demo_clips import fetch_clip

SIZE = (1200, 750)
SMALL = (800, 500)
WIDTH, HEIGHT = 176, 144
BODY, HEAD = (0.5, 0.88), (0.48, 0.42)
POINTER = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (13, 12)]
COLOURS = 128


class Film:
    """Pictures of a page with a pointer on it, and how long each is shown."""

    def __init__(self, page: Page) -> None:
        self.page, self.at = page, (900.0, 90.0)
        self.pictures: list[Image.Image] = []
        self.shown: list[int] = []

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the video lies in the window."""
        box = self.page.locator("#canvas").bounding_box()
        scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
        left = box["x"] + (box["width"] - WIDTH * scale) / 2
        top = box["y"] + (box["height"] - HEIGHT * scale) / 2
        return left + x * WIDTH * scale, top + y * HEIGHT * scale

    def look(self) -> Image.Image:
        """The page as it is."""
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")

    def shoot(self, milliseconds: int) -> None:
        """Keep what is to be seen."""
        picture = self.look()
        draw = ImageDraw.Draw(picture)
        way = [(self.at[0] + x * 1.3, self.at[1] + y * 1.3) for x, y in POINTER]
        draw.polygon(way, fill="white", outline="black")
        self.pictures.append(picture.resize(SMALL, Image.Resampling.LANCZOS))
        self.shown.append(milliseconds)

    def move(self, to: tuple[float, float], steps: int = 5) -> None:
        """Take the pointer to a point of the video."""
        x, y = self.place(*to)
        (a, b), self.at = self.at, (x, y)
        for i in range(1, steps + 1):
            self.at = (a + (x - a) * i / steps, b + (y - b) * i / steps)
            self.page.mouse.move(*self.at)
            self.page.wait_for_timeout(60)
            self.shoot(70)

    def settle(self, edits: int) -> None:
        """Wait until the page has drawn what was asked for."""
        self.page.locator("#saved").get_by_text(re.compile(f"^{edits} edits?,")).wait_for()
        self.page.wait_for_function(
            "() => { const of = document.getElementById('canvas').dataset;"
            "return of.painted === of.version }"
        )
        self.page.wait_for_timeout(300)

    def save(self, path: Path) -> None:
        """As a GIF of one palette, so that nothing flickers."""
        some = self.pictures[:: max(1, len(self.pictures) // 8)]
        sheet = Image.new("RGB", (SMALL[0], SMALL[1] * len(some)))
        for i, picture in enumerate(some):
            sheet.paste(picture, (0, i * SMALL[1]))
        palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)
        frames = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in self.pictures]
        first, rest = frames[0], frames[1:]
        first.save(path, save_all=True, append_images=rest, duration=self.shown, loop=0)


def correct(page: Page, out: Path) -> None:
    """Do the correction, and keep what is seen of it."""
    film = Film(page)
    page.evaluate("document.getElementById('toast').hidden = true")  # odd pixels of the clip
    film.shoot(1200)
    film.move(HEAD)
    film.shoot(900)
    film.move(BODY)
    film.shoot(900)
    page.mouse.dblclick(*film.at)
    film.settle(1)
    film.look().save(out / "view-promote.jpg", quality=88)
    film.shoot(1400)
    film.move(HEAD)
    page.keyboard.down("Shift")
    page.mouse.click(*film.at)
    page.keyboard.up("Shift")
    page.wait_for_timeout(200)
    film.shoot(1200)
    page.keyboard.press("m")
    film.settle(2)
    film.shoot(1200)
    page.keyboard.press("r")
    for letter in "driver":
        page.keyboard.type(letter)
        film.shoot(110)
    page.keyboard.press("Enter")
    film.settle(3)
    film.look().save(out / "view.jpg", quality=88)
    film.shoot(900)
    last = int(page.get_attribute("#scrub", "max"))
    for frame in range(0, last + 1, max(1, last // 14)):
        page.evaluate(
            f"() => {{ const r = document.getElementById('scrub'); r.value = {frame};"
            "r.dispatchEvent(new Event('input')) }"
        )
        page.wait_for_selector(f'#canvas[data-frame="{frame}"]', state="attached")
        page.wait_for_timeout(120)
        film.shoot(120)
    film.shoot(1500)
    film.save(out / "correct.gif")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, help="of the clip, where it was segmented already")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = Path(temporary) / "carphone"
        if options.result:
            shutil.copytree(options.result, result)
        else:
            ask = ["segment", str(fetch_clip("carphone")), "--out", str(result), "--end", "2"]
            subprocess.run([*COMMAND, *ask], check=True)
        size = {"width": SIZE[0], "height": SIZE[1]}
        with served(result) as (url, _), chromium() as browser:
            page = browser.new_context(viewport=size, color_scheme="dark").new_page()
            page.goto(url)
            page.wait_for_selector("body[data-shown]")
            page.wait_for_timeout(800)
            correct(page, options.out)


if __name__ == "__main__":
    main()
