"""The viewer's page in a real browser: what a person sees and does, and no error in the console.

UNVEIL_PICTURES=folder keeps a picture of each state that is passed.
"""

import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handmade import make_result
from unveil.attention.block import random_block
from unveil.attention.block_file import save_block
from unveil.editing.log import read
from unveil.settings import Settings

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("uvicorn", reason="the viewer's server is not installed")
from viewing import Viewer, viewer  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"
    ),
]
T, H, W = 20, 72, 128
LEFT, RIGHT, STILL, AIR = (0.22, 0.5), (0.4, 0.5), (0.85, 0.8), (0.9, 0.1)
SLIDE = "document.getElementById('granularity').dispatchEvent(new Event('change'))"
QUIET = ("net::ERR_ABORTED",)
OWN = ("409", "willReadFrequently")
"""What the console says because of these tests: refusals that they provoke, pixels they read."""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return make_result(tmp_path_factory.mktemp("result"), T)


@pytest.fixture
def copy(result, tmp_path):
    shutil.copytree(result, tmp_path / "out")
    return tmp_path / "out"


class Page:
    """The page of a viewer, and what a person does with it."""

    def __init__(self, page, viewer: Viewer) -> None:
        self.page, self.viewer = page, viewer

    def open(self) -> "Page":
        self.page.goto(self.viewer.url)
        self.page.wait_for_selector("body[data-shown]")
        return self.settle()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frame lies on the screen."""
        box = self.page.locator("#canvas").bounding_box()
        scale = min(box["width"] / W, box["height"] / H)
        left = box["x"] + (box["width"] - W * scale) / 2
        top = box["y"] + (box["height"] - H * scale) / 2
        return left + x * W * scale, top + y * H * scale

    def click(self, point: tuple[float, float], **options) -> "Page":
        self.page.mouse.click(*self.at(*point), **options)
        return self

    def keys(self, *keys: str) -> "Page":
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def settle(self, edits: int | None = None) -> "Page":
        """Until the page shows what the server knows."""
        if edits is not None:
            self.until(lambda: self.viewer.json("api/scene")["edits"] == edits)
        version = self.viewer.json("api/scene")["version"]
        self.page.wait_for_selector(f'#canvas[data-version="{version}"]')
        frame = self.page.locator("#scrub").input_value()
        self.page.wait_for_selector(f'#canvas[data-frame="{frame}"]')
        self.page.wait_for_timeout(60)
        return self

    def until(self, true) -> None:
        for _ in range(400):
            if true():
                return
            self.page.wait_for_timeout(25)
        raise AssertionError("it never came to be so")

    def lanes(self) -> list[str]:
        return self.page.locator(".lane .name .text").all_inner_texts()

    def colour(self, point: tuple[float, float]) -> tuple[int, ...]:
        """The colour of the canvas at a point of the frame."""
        x, y = self.at(*point)
        return tuple(
            self.page.evaluate(
                "([x, y]) => { const c = document.getElementById('canvas');"
                "const b = c.getBoundingClientRect(), r = c.width / b.width;"
                "return [...c.getContext('2d').getImageData((x - b.x) * r, (y - b.y) * r, 1, 1)"
                ".data].slice(0, 3) }",
                [x, y],
            )
        )

    def picture(self, name: str) -> None:
        if folder := os.environ.get("UNVEIL_PICTURES"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@contextmanager
def opened(browser, folder, size=(1280, 800), scheme="dark", **options) -> Iterator[Page]:
    """A page on a viewer of a folder; the console must have been silent at the end."""
    with viewer(folder, **options) as v:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        said: list[str] = []
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "requestfailed",
            lambda r: said.append(f"{r.url} {r.failure}") if r.failure not in QUIET else 0,
        )
        yield Page(page, v)
        context.close()
        assert not [text for text in said if not any(own in text for own in OWN)], said


def test_open_play_step_and_seek(browser, copy):
    with opened(browser, copy) as page:
        page.open()
        assert page.lanes() == ["object 1"]
        assert page.page.title() == "clip · Unveil"
        masked, plain = page.colour(LEFT), page.colour(AIR)
        page.keys(",")
        page.page.wait_for_timeout(150)
        assert page.colour(LEFT) != masked and page.colour(AIR) == plain
        page.keys(",", "ArrowRight", "Shift+ArrowRight").settle()
        assert page.page.locator("#scrub").input_value() == "11"
        page.keys("End").settle()
        assert "19 / 19" in page.page.locator("#now").inner_text()
        page.keys("Home", " ")
        page.until(lambda: int(page.page.locator("#scrub").input_value()) >= 3)
        page.keys(" ")
        assert page.page.locator("#play").get_attribute("aria-label") == "Play"
        track = page.page.locator(".lane:not(.rule) .track").bounding_box()
        page.page.mouse.click(track["x"] + track["width"] / 2, track["y"] + 10)
        page.settle()
        assert page.page.locator("#scrub").input_value() in ("9", "10")
        assert page.page.locator(".lane.chosen").count() == 1
        page.picture("open")
    assert not (copy / "edits.jsonl").exists()


def test_a_correction_from_beginning_to_end(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT)
        assert page.page.locator("#chosen").get_by_text("20 of 20 frames").is_visible()
        page.page.mouse.move(*page.at(0.23, 0.45))
        assert "object 1" in page.page.locator("#tip").inner_text()
        # Split by a click on either side, shown before it is done.
        before = page.colour(RIGHT)
        page.keys("s").click(LEFT).click(RIGHT)
        page.until(lambda: page.colour((0.42, 0.4)) != before)
        page.picture("split")
        page.keys("Enter").settle(1)
        assert page.lanes() == ["object 1", "object 2"]
        assert len(read(copy / "edits.jsonl").edits) == 1
        # Promote what is background, and name it.
        page.page.mouse.dblclick(*page.at(*STILL))
        page.settle(2)
        page.keys("r")
        page.page.keyboard.type("the still one")
        page.keys("Enter").settle(3)
        page.page.locator("#class").fill("square")
        page.keys("Enter").settle(4)
        page.page.locator("#colour").fill("#00ccff")
        page.settle(5)
        assert page.lanes() == ["object 1", "object 2", "the still one"]
        red, _, blue = page.colour(STILL)
        assert blue > red
        page.picture("named")
        # Merge, and undo it.
        page.keys("Escape").click(LEFT)
        page.page.keyboard.down("Shift")
        page.click(RIGHT)
        page.page.keyboard.up("Shift")
        assert page.page.locator("#chosen h2").inner_text().lower() == "2 objects"
        page.picture("two")
        page.keys("m").settle(6)
        assert page.lanes() == ["object 1", "the still one"]
        page.keys("Control+z").settle(5)
        assert page.lanes() == ["object 1", "object 2", "the still one"]
        page.keys("Control+Shift+z").settle(6)
        page.keys("Control+z").settle(5)
        # Drop, cut in time.
        page.keys("Escape").click(RIGHT).keys("Delete").settle(6)
        assert page.lanes() == ["object 1", "the still one"]
        page.click(LEFT).keys("Shift+ArrowRight", "c").settle(7)
        assert page.lanes() == ["object 1", "object 2", "the still one"]
        page.picture("cut")
        # Save, look at what was written, open again.
        page.keys("Control+s")
        page.until(lambda: page.page.locator("#saved").inner_text() == "saved")
        said = json.loads((copy / "objects.json").read_text())
        assert [a.get("name") for a in said["annotations"]] == [None, None, "the still one"]
        mask = np.array(Image.open(copy / "masks" / "00015.png"))
        assert set(np.unique(mask)) == {0, 2, 3}
        page.open()
        assert page.lanes() == ["object 1", "object 2", "the still one"]
        page.keys("Control+z").settle(6)


def test_outlines_run_between_pixels_that_differ_and_nowhere_else(browser, copy):
    rng = np.random.default_rng(0)
    h, w = 7, 11
    labels = rng.integers(0, 4, (h, w)).repeat(1, 0)
    labels[2:5, 3:8] = 3
    with opened(browser, copy) as page:
        page.open()
        hit = page.page.evaluate(
            """async ([labels, width, points]) => {
                const { outlines } = await import("./runs.js");
                const paths = outlines(Uint16Array.from(labels), width);
                const c = new OffscreenCanvas(9, 9).getContext("2d");
                [c.lineWidth, c.lineCap] = [0.1, "round"];
                return [1, 2, 3].map((id) => points.map(([x, y]) =>
                    paths.has(id) && c.isPointInStroke(paths.get(id), x, y)));
            }""",
            [labels.ravel().tolist(), w, (points := _points(h, w))],
        )
    for id, found in zip((1, 2, 3), hit, strict=True):
        for (x, y), there in zip(points, found, strict=True):
            # The pixels on either side of a point; one alone where it is the middle of a pixel.
            pair = {labels[int(y - 0.25), int(x - 0.25)], labels[int(y + 0.25), int(x + 0.25)]}
            assert there == (len(pair) == 2 and id in pair), (id, x, y)


def _points(h: int, w: int) -> list[tuple[float, float]]:
    """The middles of pixels, and between two beside or above each other, off the border."""
    return [
        *((x + 0.5, y + 0.5) for y in range(1, h - 1) for x in range(1, w - 1)),
        *((x + 1.0, y + 0.5) for y in range(1, h - 1) for x in range(w - 1)),
        *((x + 0.5, y + 1.0) for y in range(h - 1) for x in range(1, w - 1)),
    ]


def test_brush_and_erase(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT).keys("b", "]", "]", "]", "]")
        x, y = page.at(0.79, 0.78)
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        page.page.mouse.move(*page.at(0.9, 0.78), steps=8)
        page.picture("brush")
        page.page.mouse.up()
        page.settle(1)
        areas = page.viewer.labels(f"api/mask/{page.viewer.json('api/scene')['version']}/9", H, W)
        assert areas[56, 108] == 1  # carried along to another frame
        page.keys("e")
        page.page.mouse.move(*page.at(0.84, 0.8))
        page.page.mouse.down()
        page.page.mouse.up()
        page.settle(2)
        page.keys("Control+z", "Control+z").settle(0)
        page.keys("v", "Escape", "b").click(AIR)
        assert "Select the object first" in page.page.locator("#toast").inner_text()


def test_a_stroke_is_of_the_moment_it_began_or_given_up(browser, copy):
    with opened(browser, copy) as page:
        mouse = page.page.mouse

        def begin():
            mouse.move(*page.at(0.25, 0.5))
            mouse.down()
            mouse.move(*page.at(0.3, 0.5), steps=3)

        page.open().click(LEFT)
        ends = "document.getElementById('canvas').dispatchEvent(new PointerEvent('pointercancel'))"
        for give_up in (
            lambda: page.keys("Escape"),
            lambda: page.keys("e"),
            lambda: page.page.evaluate(ends),
        ):
            page.keys("b")
            begin()
            give_up()
            mouse.up()
        page.page.wait_for_timeout(200)
        assert not (copy / "edits.jsonl").exists()
        # Nothing is selected, and the brush is larger, before it is done.
        name = page.page.locator(".lane .name")
        page.keys("b")
        begin()
        name.dispatch_event("click", {"shiftKey": True})
        page.keys("]", "ArrowRight").page.wait_for_timeout(100)
        assert page.page.locator(".lane.chosen").count() == 0
        mouse.up()
        page.settle(1)
        name.dispatch_event("click")
        page.keys("Home").settle()
        # Nor does it go on playing.
        page.keys(" ")
        page.until(lambda: int(page.page.locator("#scrub").input_value()) >= 2)
        begin()
        frame = int(page.page.locator("#scrub").input_value())
        page.page.wait_for_timeout(400)
        assert page.page.locator("#play").get_attribute("aria-label") == "Play"
        mouse.up()
        page.settle(2)
    first, second = read(copy / "edits.jsonl").edits
    assert (first.of, first.frame, first.add, first.radius) == (1, 0, True, 0.03)
    assert (second.of, second.frame) == (1, frame)


def test_sliders_show_at_once_and_are_kept_when_let_go(browser, copy):
    with opened(browser, copy) as page:
        page.open()
        slider = page.page.locator("#granularity")
        slider.evaluate("s => { s.value = 0.9; s.dispatchEvent(new Event('input')) }")
        page.page.wait_for_timeout(400)
        assert not (copy / "edits.jsonl").exists()
        slider.evaluate("s => s.dispatchEvent(new Event('change'))")
        page.settle(1)
        assert page.viewer.json("api/scene")["sliders"]["granularity"] == 0.9
        assert len(page.lanes()) >= 1
        page.click(LEFT)
        page.page.locator("#own-granularity").evaluate(
            "s => { s.value = 1; s.dispatchEvent(new Event('input'));"
            " s.dispatchEvent(new Event('change')) }"
        )
        page.settle(2)
        page.keys("Control+z").settle(1)


def test_the_card_of_an_object_shows_what_its_sliders_did(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT)
        finer, facts = page.page.locator("#own-granularity"), page.page.locator("#chosen .facts")
        assert "sliders may change it" in facts.inner_text()
        box = finer.bounding_box()
        page.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
        page.settle(1)
        facts.get_by_text("by hand").wait_for()
        assert float(finer.input_value()) > 0.9 and len(page.lanes()) > 1
        assert page.page.evaluate("document.activeElement.id") == "own-granularity"
        page.page.locator("#own-score").press("ArrowLeft")
        page.settle(2).keys("ArrowLeft").settle(3)
        assert page.page.locator("#own-score").input_value() == "0.48"
        page.keys("Control+z", "Control+z", "Control+z").settle(0)
        facts.get_by_text("sliders may change it").wait_for()
        assert finer.input_value() == "0" and len(page.lanes()) == 1


def test_background_clusters_are_listed_and_promoted(browser, copy):
    with opened(browser, copy) as page:
        page.open().keys("k")
        page.page.wait_for_selector('#canvas[data-clusters="0"]')
        page.page.wait_for_timeout(100)
        page.picture("clusters")
        rows = page.page.locator("#clusters li")
        assert rows.count() == 2
        rows.nth(1).get_by_role("button", name=re.compile("an object")).click()
        page.settle(1)
        assert len(page.lanes()) == 2


def test_attention_follows_the_video_head_by_head(browser, copy, tmp_path):
    save_block(random_block(24, 3), tmp_path / "block", backbone=Settings.backbone)
    run = json.loads((copy / "run.json").read_text())
    run["settings"]["block"] = str(tmp_path / "block")
    (copy / "run.json").write_text(json.dumps(run))
    with opened(browser, copy) as page:
        page.open().keys("a").click(LEFT)
        page.page.wait_for_selector("#panels canvas[data-frame='0']")
        page.keys("ArrowRight").settle()
        page.page.wait_for_selector("#panels canvas[data-frame='1']")
        assert page.page.locator("#panels figcaption").all_inner_texts() == [
            "backbone",
            "class token",
            "untrained block",
            "trained block",
        ]
        trained = page.page.locator("#panels canvas").nth(3)
        drawn = "c => c.toDataURL()"
        before = trained.evaluate(drawn)
        page.page.get_by_role("button", name="Head 2").click()
        page.until(lambda: trained.evaluate(drawn) != before)
        page.picture("attention")
        page.keys("Escape")
        assert page.page.locator("#panels").is_hidden()


def test_the_keyboard_reaches_everything_and_is_explained(browser, copy):
    with opened(browser, copy) as page:
        page.open().keys("?")
        help_ = page.page.locator("dialog#keys")
        assert help_.is_visible() and help_.locator("dt").count() > 30
        page.picture("help")
        page.keys("Escape")
        assert not help_.is_visible()
        page.keys("n")
        assert page.page.locator(".lane .name[aria-pressed=true]").count() == 1
        page.keys("End").page.locator("#go-there").click()
        assert page.page.locator("#scrub").input_value() == "0"
        page.keys("l", "o", "h", "h", "+", "0", "Escape")
        nameless = page.page.evaluate(
            "() => [...document.querySelectorAll('button, input, canvas[role], select')].filter("
            "e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length"
            " || e.title || e.closest('[aria-hidden]'))).map(e => e.outerHTML)"
        )
        assert nameless == []
        page.page.keyboard.press("Tab")
        assert page.page.evaluate("document.activeElement !== document.body")


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        ("narrow", (400, 860), "dark"),
        ("light", (1280, 800), "light"),
        ("large", (2560, 1440), "dark"),
        ("low", (1024, 600), "light"),
    ],
)
def test_it_fits_any_window(browser, copy, name, size, scheme):
    with opened(browser, copy, size, scheme) as page:
        page.open().click(LEFT)
        assert page.page.locator(".lane.chosen").count() == 1
        over = page.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0
        box = page.page.locator("#canvas").bounding_box()
        assert box["width"] > 300 and box["height"] > 150
        covered = page.page.evaluate(
            "([x, y]) => document.elementFromPoint(x, y).id",
            [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2],
        )
        assert covered == "canvas"
        ticks = page.page.locator(".ruler span").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])"
        )
        assert len(ticks) > 1
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ticks))
        page.picture(name)
        light = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(242, 243, 246)") == (scheme == "light")


def test_a_video_that_moved_is_asked_for_in_the_page(browser, copy, result, tmp_path):
    run = json.loads((copy / "run.json").read_text())
    run["video"]["source"] = str(tmp_path / "gone.mp4")
    (copy / "run.json").write_text(json.dumps(run))
    with opened(browser, copy) as page:
        page.page.goto(page.viewer.url)
        dialog = page.page.locator("dialog#wait")
        dialog.get_by_text("Where is the video?").wait_for()
        page.picture("source")
        dialog.locator("input").fill(str(tmp_path / "nowhere.mp4"))
        dialog.get_by_role("button").click()
        dialog.get_by_text("no such file").wait_for()
        dialog.locator("input").fill(str(result.parent / "clip.mp4"))
        dialog.get_by_role("button").click()
        page.page.wait_for_selector("body[data-shown]")
        assert page.lanes() == ["object 1"]


def test_a_result_without_a_tree_is_looked_at_and_edits_are_refused(browser, copy, tmp_path):
    (copy / "state.npz").unlink()
    run = json.loads((copy / "run.json").read_text())
    run["settings"]["mode"] = "paper"
    run["video"]["source"] = str(tmp_path / "gone.mp4")
    (copy / "run.json").write_text(json.dumps(run))
    with opened(browser, copy) as page:
        page.page.goto(page.viewer.url)
        page.page.get_by_role("button", name="Only the masks").click()
        page.page.wait_for_selector("body[data-shown]")
        page.click(LEFT)
        assert page.page.locator("#chosen").get_by_text("20 of 20 frames").is_visible()
        assert page.page.locator("#side").get_by_text("keeps no merge tree").is_visible()
        assert page.colour(LEFT) != page.colour(AIR) == (32, 32, 32)
        page.picture("locked")
        for does in ("m", "s", "b", "c", "Delete", "Control+s", "Control+z"):
            page.page.evaluate("document.getElementById('toast').hidden = true")
            page.keys(does)
            page.page.locator("#toast").get_by_text("keeps no merge tree").wait_for()
        page.page.evaluate("document.getElementById('toast').hidden = true")
        page.page.mouse.dblclick(*page.at(*STILL))
        page.page.locator("#toast").get_by_text("keeps no merge tree").wait_for()
        for hidden in ("#undo", "#redo", "#save", "[data-tool=brush]", "#granularity", "#clusters"):
            assert not page.page.locator(hidden).is_visible()
        page.keys(" ")
        page.until(lambda: int(page.page.locator("#scrub").input_value()) >= 3)


def test_an_object_with_the_id_of_one_that_was_hidden_is_seen(browser, copy):
    with opened(browser, copy) as page:
        page.open()
        plain = page.colour(STILL)
        for edits, hide in ((0, "h"), (4, "o")):
            page.click(STILL, click_count=2).settle(edits + 1)
            assert page.lanes() == ["object 1", "object 2"]
            page.keys(hide, "Delete").settle(edits + 2)
            assert page.lanes() == ["object 1"]
            page.click(STILL, click_count=2).settle(edits + 3)
            assert page.page.locator(".lane.off").count() == 0
            page.page.mouse.move(*page.at(*AIR))
            page.until(lambda: page.colour(STILL) != plain)
            page.keys("Delete").settle(edits + 4)


def test_what_another_tab_changed_is_shown_and_no_edit_of_before_is_done(browser, copy):
    with opened(browser, copy) as page:
        other = Page(page.page.context.new_page(), page.viewer)
        toast = other.page.locator("#toast").get_by_text("in another tab")
        asked = []
        other.page.on("request", lambda r: asked.append(r) if "/mask/" in r.url else 0)

        @contextmanager
        def changed(count):
            """In the first tab, and then the second one says it and is as it is."""
            for n in range(3):
                page.viewer.json("api/edit", {"edit": "rename", "of": 1, "name": f"a{count + n}"})
            yield
            toast.wait_for()
            other.until(lambda: other.lanes()[0] == f"a{count + 2}")
            other.settle(count + 3)
            other.page.evaluate("document.getElementById('toast').hidden = true")

        other.open()
        with changed(0):
            other.keys("ArrowRight")
        assert other.page.locator("#canvas").get_attribute("data-frame") == "1"
        with changed(3):
            other.keys("ArrowRight", "ArrowRight")
        asked.clear()
        with changed(6):
            other.keys(" ")
            other.until(lambda: other.page.locator("#play").get_attribute("aria-label") == "Play")
            assert len(asked) < 20
        # Two objects are dropped by one key: neither is.
        other.page.mouse.dblclick(*other.at(*STILL))
        other.settle(10).keys("Control+a")
        page.viewer.json("api/edit", {"edit": "rename", "of": 1, "name": "the left one"})
        other.keys("Delete")
        toast.wait_for()
        other.until(lambda: other.lanes()[0] == "the left one")
        other.settle(11)
        other.keys("Delete").settle(13)
        assert other.lanes() == []


def test_what_cannot_be_fetched_while_it_plays_is_said_and_it_stops(browser, copy):
    with opened(browser, copy) as page:
        other = Page(page.page.context.new_page(), page.viewer).open()
        other.page.route("**/api/mask/**", lambda route: route.abort())
        other.keys(" ")
        other.page.locator("#toast").get_by_text("no longer answers").wait_for()
        assert other.page.locator("#play").get_attribute("aria-label") == "Play"


def test_a_picture_that_is_shown_outlives_its_place_among_those_kept(browser, copy):
    """Fast scrubbing there and back: it is asked for, let go of, and drawn."""
    with opened(browser, copy) as page:
        page.open()
        drawn = page.page.evaluate(
            """async () => {
                const { Cache } = await import("./cache.js");
                const { pictures } = new Cache(16);
                pictures.fetch = () => createImageBitmap(new ImageData(4, 4));
                const shown = await pictures.get("0");
                await Promise.all([...Array(100).keys()].map((i) => pictures.get(String(i + 1))));
                const kept = pictures.here.size;
                new OffscreenCanvas(4, 4).getContext("2d").drawImage(shown, 0, 0);
                return [kept, shown.width, pictures.here.has("0")];
            }"""
        )
        assert drawn == [48, 4, False]


def test_what_is_being_typed_outlives_an_edit_that_ends_meanwhile(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT).keys("r")
        page.page.keyboard.type("the left")
        for _ in range(2):  # the page hears of it while somebody is writing
            page.page.evaluate(SLIDE)
        page.settle(2)
        assert page.page.locator("#name").input_value() == "the left"
        page.page.keyboard.type(" one")
        page.keys("Enter").settle(3)
        assert page.lanes()[0] == "the left one"
        page.page.locator("#name").wait_for()
        assert page.page.locator("#name").input_value() == "the left one"


def test_what_is_being_typed_outlives_an_edit_of_another_tab(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT).keys("r")
        page.page.keyboard.type("the left")
        page.viewer.json("api/edit", {"edit": "promote", "at": [0, *STILL]})
        page.page.evaluate(SLIDE)
        page.page.locator("#toast").get_by_text("in another tab").wait_for()
        page.until(lambda: len(page.lanes()) == 2)
        assert page.settle(1).page.locator("#name").input_value() == "the left"
        page.page.keyboard.type(" one")
        page.keys("Enter").settle(2)
        assert page.lanes()[0] == "the left one"


def test_progress_is_shown_while_a_video_is_segmented(browser, result, tmp_path):
    go = threading.Event()

    def make(report):
        report("backbone", 7, 20)
        go.wait(30)
        shutil.copytree(result, tmp_path / "made")

    with opened(browser, tmp_path / "made", make=make) as page:
        page.page.goto(page.viewer.url)
        page.page.locator("dialog#wait").get_by_text("backbone 7 of 20").wait_for()
        page.picture("progress")
        go.set()
        page.page.wait_for_selector("body[data-shown]")
        assert page.lanes() == ["object 1"]


def test_a_browser_that_closes_in_the_middle_loses_nothing(browser, copy):
    with opened(browser, copy) as page:
        page.open().click(LEFT).keys("s").click(LEFT).click(RIGHT).keys("Enter").settle(1)
        page.page.close()
        assert len(read(copy / "edits.jsonl").edits) == 1
    with opened(browser, copy) as page:
        page.open()
        assert page.lanes() == ["object 1", "object 2"]
        assert "1 edit" in page.page.locator("#saved").inner_text()


def test_a_server_that_is_gone_is_said(browser, copy):
    with viewer(copy) as v:
        context = browser.new_context()
        page = Page(context.new_page(), v)
        page.open()
    page.click(LEFT).keys("Delete")
    page.page.locator("#toast").get_by_text("no longer answers").wait_for()
    context.close()
