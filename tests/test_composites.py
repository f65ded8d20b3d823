"""Composites: the truth of a patch is exact, and the same numbers give the same scene."""

import numpy as np
import pytest

from unveil.training.composite_data import evenly
from unveil.training.composites import Layer, compose, patch_means, shadow
from unveil.training.cutouts import CutOut, cut_out, one_piece
from unveil.training.scenes import SceneSettings, draw_scene
from unveil.training.sources import choose_frames

PATCH = 4


def layer(box, thing, value=200.0, alpha=1.0, shade=None, shape=(2, 12, 20)):
    mask = np.zeros(shape, np.float32)
    mask[(slice(None), *box)] = alpha
    return Layer(np.full((*shape, 3), value, np.float32), mask, thing, shade)


@pytest.fixture
def background() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (2, 12, 20, 3), dtype=np.uint8)


def nothing(background: np.ndarray) -> np.ndarray:
    return np.zeros(background.shape[:3], np.float32)


def test_shares_are_what_each_pixel_shows(background):
    back = layer((slice(0, 8), slice(0, 8)), 0, 150.0)
    front = layer((slice(4, 8), slice(2, 12)), 1, 250.0)
    made = compose(background, nothing(background), [back, front], PATCH)
    assert made.shares.shape == (2, 2, 3, 5)
    assert np.allclose(made.shares[0, 0], [[1, 1, 0, 0, 0], [0.5, 0, 0, 0, 0], [0] * 5])
    assert np.allclose(made.shares[1, 0], [[0] * 5, [0.5, 1, 1, 0, 0], [0] * 5])
    assert (made.frames[:, 4:8, 2:12] == 250).all()
    assert (made.frames[:, :4, :8] == 150).all()
    assert (made.frames[:, 8:] == background[:, 8:]).all(), "what is not covered stays to the bit"


def test_soft_edges_and_scenery_in_front_count_by_their_alpha(background):
    thing = layer((slice(0, 4), slice(0, 4)), 0, 100.0, alpha=0.75)
    grass = layer((slice(0, 4), slice(0, 4)), None, 20.0, alpha=0.5)
    unsure = np.ones((2, 12, 20), np.float32)
    made = compose(background, unsure, [thing, grass], PATCH)
    assert np.allclose(made.shares[0, :, 0, 0], 0.375)
    assert np.allclose(made.unsure[:, 0, 0], 0.125) and np.allclose(made.unsure[:, 1:], 1)
    assert (made.shares.sum(0) <= 1).all()


def test_two_layers_may_be_one_thing(background):
    parts = [layer((slice(0, 4), slice(x, x + 4)), 0) for x in (0, 8)]
    made = compose(background, nothing(background), parts, PATCH)
    assert len(made.shares) == 1
    assert np.allclose(made.shares[0, 0, 0], [1, 0, 1, 0, 0])


def test_no_layers_no_things(background):
    made = compose(background, nothing(background), [], PATCH)
    assert made.shares.shape == (0, 2, 3, 5)
    assert (made.frames == background).all()


def test_a_shadow_darkens_what_lies_behind_and_changes_no_truth(background):
    cast = shadow(layer((slice(4, 8), slice(4, 8)), 0).alpha, (1.0, -2.0), 0.5, 0.5)
    thing = layer((slice(4, 8), slice(4, 8)), 0, shade=cast)
    bare = layer((slice(4, 8), slice(4, 8)), 0)
    dark = compose(background, nothing(background), [thing], PATCH)
    light = compose(background, nothing(background), [bare], PATCH)
    assert np.array_equal(dark.shares, light.shares)
    assert dark.frames[:, 5:8, 2:4].mean() < 0.8 * light.frames[:, 5:8, 2:4].mean()
    assert (dark.frames[:, 4:8, 4:8] == light.frames[:, 4:8, 4:8]).all()


def test_patch_means_are_means_of_patches():
    x = np.random.default_rng(0).random((3, 8, 12))
    means = patch_means(x, PATCH)
    assert means.shape == (3, 2, 3)
    assert means[2, 1, 2] == pytest.approx(x[2, 4:8, 8:12].mean())


def frames_with(masks: dict[int, list[tuple[slice, slice]]], t: int = 3) -> np.ndarray:
    labels = np.zeros((t, 20, 30), np.uint8)
    for id, boxes in masks.items():
        for frame, box in enumerate(boxes):
            labels[(frame, *box)] = id
    return labels


def test_only_what_is_one_piece_of_a_sensible_size_is_cut_out():
    box = slice(5, 12), slice(8, 14)
    labels = frames_with({1: [box] * 3, 2: [(slice(0, 1), slice(0, 2))] * 3})
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    (cut,) = cut_out(frames, labels, "clip")
    assert cut.mask.shape == (3, 7, 6) and cut.mask.all()
    assert (cut.pixels == frames[:, 5:12, 8:14]).all()
    assert cut.sides == (False,) * 4 and cut.area == pytest.approx(42 / 600)
    labels[:, 14:19, 20:28] = 1  # two pieces of one id: two things, or none
    assert cut_out(frames, labels, "clip") == []


def test_the_longest_run_of_frames_in_which_it_is_one_thing_is_cut_out():
    box = slice(5, 12), slice(8, 14)
    labels = frames_with({3: [box] * 5}, t=5)
    labels[1] = 0
    (cut,) = cut_out(np.zeros((5, 20, 30, 3), np.uint8), labels, "clip")
    assert len(cut.mask) == 3


def test_where_the_frame_cut_it_is_known_and_holes_are_filled():
    labels = frames_with({1: [(slice(12, 20), slice(0, 9))]}, t=1)
    labels[0, 15, 4] = 0
    (cut,) = cut_out(np.zeros((1, 20, 30, 3), np.uint8), labels, "clip")
    assert cut.sides == (False, True, True, False)
    assert cut.mask.all()


def test_a_net_or_the_whole_frame_is_no_thing():
    ring = np.zeros((20, 30), bool)
    ring[np.arange(20), np.arange(20)] = ring[np.arange(19), np.arange(1, 20)] = True
    assert one_piece(ring) is None
    assert one_piece(np.ones((20, 30), bool)) is None
    assert one_piece(np.zeros((20, 30), bool)) is None


def make_cut(source: str, seed: int, t: int = 3) -> CutOut:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(150, 256, (t, 12, 10, 3), dtype=np.uint8)
    return CutOut(pixels, np.ones((t, 12, 10), bool), (False,) * 4, (48, 64), source)


def scene(seed: int, t: int = 2, **changes):
    back = np.random.default_rng(9).integers(0, 90, (t, 48, 64, 3), dtype=np.uint8)
    pool = [make_cut(str(i), i) for i in range(4)]
    own = np.zeros((1, t, 48, 64), np.float32)
    own[:, :, :8, :8] = 1
    unsure = np.zeros((t, 48, 64), np.float32)
    settings = SceneSettings(**changes)
    return draw_scene(back, own, unsure, pool, settings, PATCH, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_scene():
    for seed in range(5):
        a, b = scene(seed), scene(seed)
        assert (a.frames == b.frames).all() and np.array_equal(a.shares, b.shares)
    assert not (scene(0).frames == scene(1).frames).all()


def test_scenes_hold_as_many_things_as_they_may_and_the_truth_is_a_share():
    counts = [len(scene(seed, fewest=2, most=4, empty=0.0).shares) - 1 for seed in range(12)]
    assert min(counts) >= 1 and max(counts) <= 4, "one of them may find no room"
    assert scene(0).own == 1
    assert len(scene(0, empty=1.0).shares) == 1, "what the background shows itself stays"
    for seed in range(8):
        made = scene(seed)
        assert made.shares.min() >= 0 and made.shares.sum(0).max() <= 1 + 1e-5


def test_pasted_things_are_where_the_truth_says():
    """Things are bright, the background is dark: a patch is as bright as it is of things."""
    for seed in range(8):
        made = scene(seed, shadows=0.0, match=0.0, jitter=0.0, behind=0.0)
        bright = patch_means((made.frames.mean(-1) > 120).astype(np.float32), PATCH)
        pasted = made.shares[1:].sum(0)
        assert np.abs(bright - pasted).mean() < 0.03


def test_things_move_from_frame_to_frame():
    still, moving = (
        scene(3, motion=m, shadows=0.0, empty=0.0, smallest=0.2, largest=0.3) for m in (0.0, 0.2)
    )
    assert np.allclose(still.shares[1:, 0], still.shares[1:, 1])
    assert np.abs(moving.shares[1:, 0] - moving.shares[1:, 1]).max() > 0.2


def test_every_clip_is_drawn_as_often_as_any_other():
    clips = [[make_cut("a", i) for i in range(5)], [make_cut("b", 9)], []]
    pool = evenly(clips, np.random.default_rng(0))
    assert [c.source for c in pool].count("a") == [c.source for c in pool].count("b") == 5


@pytest.mark.parametrize(
    ("length", "chosen"),
    [(100, [40, 43, 46]), (7, [0, 3, 6]), (8, [1, 4, 7]), (5, [0, 2, 4]), (2, [0, 1]), (1, [0])],
)
def test_frames_of_a_clip_are_chosen_within_it(length, chosen):
    assert choose_frames(length, 3, 3, 0.4) == chosen
