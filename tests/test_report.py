"""Pictures: exact palettes, painting against a slow loop, movies, contact sheets."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from unveil.errors import InputError
from unveil.results.contact import ContactSheet
from unveil.results.movie import Movie
from unveil.results.overlay import boundary, paint
from unveil.results.palette import colour_index, davis_palette, vivid_palette
from unveil.video.source import read_clip


def scene(t=5, h=37, w=53, seed=0):
    """Smooth frames and labels: object 1 moves to the right over object 2 at the bottom."""
    rows, columns = np.mgrid[:h, :w]
    base = np.stack((rows * 255 // h, columns * 255 // w, np.full((h, w), 90)), axis=-1)
    frames = np.stack([np.roll(base, i, axis=1) for i in range(t)]).astype(np.uint8)
    labels = np.zeros((t, h, w), np.uint8)
    labels[:, 2 * h // 3 :] = 2
    for i in range(t):
        labels[i, h // 4 : 3 * h // 4, 3 + i : 3 + i + w // 4] = 1
    return frames, labels


def test_davis_palette_is_the_official_one(shared):
    path = next((shared / "davis/Annotations_unsupervised/480p/bmx-trees").glob("*.png"))
    with Image.open(path) as image:
        official = np.array(image.getpalette()).reshape(-1, 3)
    assert np.array_equal(davis_palette()[: len(official)], official)


def test_davis_palette_by_hand():
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    expected += [(0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0)]
    assert davis_palette()[:11].tolist() == [list(c) for c in expected]
    assert davis_palette()[255].tolist() == [224, 224, 192]
    assert len(np.unique(davis_palette(), axis=0)) == 256


def test_vivid_colours_are_told_apart():
    colours = vivid_palette().astype(int)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(256, dtype=int)
    assert distance[:21, :21].min() >= 40
    assert distance[:64, :64].min() > 0
    assert colours[1:].max(axis=1).min() >= 150


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_index(dtype):
    top = np.iinfo(dtype).max
    ids = np.array([0, 1, 254, 255, min(256, top), min(508, top), top], dtype)
    index = colour_index(ids)
    assert index[0] == 0 and index.dtype == np.uint8
    assert index[1:].min() >= 1 and index.max() <= 254
    assert index[1:3].tolist() == [1, 254] and index[3] == 1


def test_boundary_against_a_loop():
    labels = np.random.default_rng(0).integers(0, 3, (11, 13)).astype(np.uint8)
    expected = np.zeros(labels.shape, bool)
    for y in range(11):
        for x in range(13):
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if not (0 <= y + dy < 11 and 0 <= x + dx < 13):
                    continue
                mine, other = labels[y, x], labels[y + dy, x + dx]
                if mine == other or other == 0:
                    continue
                expected[y, x] |= mine == 0 or dy + dx < 0
    assert np.array_equal(boundary(labels), expected)


@pytest.mark.parametrize(
    ("alpha", "background"), [(0.5, 1.0), (0.72, 0.45), (0.0, 1.0), (1.0, 0.0)]
)
def test_paint_against_the_formula(alpha, background):
    (frame, *_), (labels, *_) = scene()
    line = boundary(labels)
    strength = np.where(labels > 0, alpha, 1 - background)
    strength[line] = max(alpha, 0.85) if alpha else 0
    colour = vivid_palette()[labels].astype(float)
    colour[line] = 255
    expected = frame * (1 - strength[..., None]) + colour * strength[..., None]
    assert np.abs(paint(frame, labels, alpha, background) - expected).max() <= 2


def test_paint_leaves_its_input_and_the_background_alone():
    (frame, *_), (labels, *_) = scene()
    before = frame.copy(), labels.copy()
    painted = paint(frame, labels)
    assert np.array_equal(frame, before[0]) and np.array_equal(labels, before[1])
    still = (labels == 0) & ~boundary(labels)
    assert np.array_equal(painted[still], frame[still])


def test_paint_refuses():
    (frame, *_), (labels, *_) = scene()
    with pytest.raises(InputError, match="do not fit"):
        paint(frame, labels[:-1])
    with pytest.raises(InputError, match="alpha"):
        paint(frame, labels, 1.5)


@pytest.mark.parametrize(
    "fps", [Fraction(30000, 1001), Fraction(25, 3), Fraction(24), Fraction(1, 2)]
)
@pytest.mark.parametrize("size", [(37, 53), (48, 64), (36, 51)])
def test_movie_shows_what_paint_paints(tmp_path, fps, size):
    frames, labels = scene(4, *size)
    movie = Movie(tmp_path / "a.mp4", fps, *size)
    for frame, image in zip(frames, labels, strict=True):
        movie.write(frame, image)
    movie.close()
    clip = read_clip(tmp_path / "a.mp4")
    h, w = size
    assert clip.fps == fps
    assert clip.frames.shape == (4, h + h % 2, w + w % 2, 3)
    painted = np.stack([paint(f, x) for f, x in zip(frames, labels, strict=True)])
    inside = np.stack([~boundary(x) for x in labels])  # colour is halved in size, so lines bleed
    difference = np.abs(painted.astype(int) - clip.frames[:, :h, :w])
    assert difference[inside].mean() < 6
    assert difference[0, 20, 10].max() < 16  # inside object 1
    assert difference[0, 34, 30].max() < 16  # inside object 2


@pytest.mark.parametrize(
    "box", [None, (0, 1, 0, 1), (36, 37, 52, 53), (9, 10, 0, 53), (0, 37, 5, 8)]
)
def test_overlay_movie_paints_objects_wherever_they_are(tmp_path, box):
    """None at all, in corners, along an odd line, from edge to edge."""
    grey, labels = np.full((37, 53, 3), 90, np.uint8), np.zeros((37, 53), np.uint8)
    if box is not None:
        top, bottom, left, right = box
        labels[top:bottom, left:right] = 1
    movie = Movie(tmp_path / "a.mp4", Fraction(25), *labels.shape)
    movie.write(grey, labels)
    movie.close()
    shown = read_clip(tmp_path / "a.mp4").frames[0, :37, :53].astype(int)
    # Brightness alone: colours are halved in size, so that of one line bleeds.
    wrong = np.abs(shown.mean(-1) - paint(grey, labels).mean(-1))
    assert wrong.max() < 12  # lines are white
    assert wrong[labels > 0].sum() <= 6 * (labels > 0).sum()


@pytest.mark.parametrize("t", [1, 2, 8, 64, 65, 700])
def test_contact_sheet_of_any_length(t):
    (frame, *_), (labels, *_) = scene(1)
    sheet = ContactSheet("cat")
    for i in range(t):
        frame = np.full_like(frame, i % 251)
        sheet.add(frame, labels)
    image = sheet.draw({1: 0.9, 2: 0.8})
    shown = [index for index, *_ in sheet.shown()]
    assert len(shown) == min(t, 8)
    assert shown[0] == 0 and shown[-1] >= 0.9 * (t - 1)
    steps = np.diff(shown)
    assert t == 1 or steps.max() <= 1.35 * max(1, steps.mean()) + 1
    assert image.width >= 480
    pixels = np.asarray(image)
    h, w = labels.shape
    top = pixels[46 : 46 + h, 6 : 6 + w]
    assert (top[20:] == 0).all()  # the first frame is black
    below = pixels[46 + h + 6 : 46 + h + 6 + h, 6 : 6 + w]
    assert below[20, 8, 0] > 150 > below[20, 8, 1]  # object 1 is red


def test_contact_sheet_of_large_frames_is_small():
    frames, labels = scene(9, 480, 854)
    sheet = ContactSheet("a name that goes on for quite a while " * 9)
    for frame, image in zip(frames, labels, strict=True):
        sheet.add(frame, image)
    assert sheet.draw(dict.fromkeys(range(1, 400), 0.5)).size == (8 * 246 + 6, 46 + 2 * 141)
