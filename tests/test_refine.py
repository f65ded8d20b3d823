"""Pixels from patches: the published way, and masks that follow the edges of the image."""

import numpy as np
import pytest
import torch
from kornia.filters import guided_blur
from torch.nn import functional as F

from unveil.results.guided import fitted, guided_fits
from unveil.segmentation import refine


def planted(slope: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """A frame 60x84 with a slanted edge between two textured colours, and the truth beside it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :84]
    truth = x > 25 + slope * y
    colours = np.where(truth[..., None], (190, 60, 40), (50, 110, 160))
    return (colours + rng.integers(-12, 13, (60, 84, 3))).astype(np.uint8), truth


def hard(labels: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Sharpened labels of patches that are an object's as a whole, or not at all."""
    return refine.sharpen(labels, (labels > 0).astype(np.float32), frames)


def to_patches(truth: np.ndarray, h: int, w: int) -> np.ndarray:
    height, width = truth.shape
    return truth.reshape(h, height // h, w, width // w).mean((1, 3)) > 0.5


def test_nearest_gives_each_pixel_its_patch():
    labels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert refine.nearest(labels, 5, 7)[0].tolist() == [
        [0, 0, 0, 1, 1, 2, 2],
        [0, 0, 0, 1, 1, 2, 2],
        [0, 0, 0, 1, 1, 2, 2],
        [3, 3, 3, 4, 4, 5, 5],
        [3, 3, 3, 4, 4, 5, 5],
    ]


def test_colours_are_weighed_by_bayes_rule():
    """Two objects and what surrounds them, slow and literal, against `by_colour`."""
    g = torch.Generator().manual_seed(0)
    h, w, k, bins = 21, 34, 2, refine.BINS
    guide = torch.rand(1, 3, h, w, generator=g, dtype=torch.float64)
    masks = torch.zeros(1, k, h, w, dtype=torch.float64)
    masks[0, 0, 2:9, 2:9], masks[0, 1, 4:12, 9:14] = 0.7, 0.95
    masks[0, :, 8, 8:10] = 0.3
    got = refine.by_colour(guide, masks)[0]
    inside = masks[0].sum(0) > 0.5
    prior = [*masks[0], 1 - masks[0].sum(0)]
    counts = np.zeros((k + 1, bins, bins, bins))
    places, reach = list(np.ndindex(h, w)), refine.AROUND
    cell = {p: tuple(int(c * bins) for c in guide[0, :, p[0], p[1]]) for p in places}
    near = {
        (y, x): bool(
            inside[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].any()
        )
        for y, x in places
    }
    for p in places:
        for i in range(k + 1):
            counts[i][cell[p]] += near[p] * max(float(prior[i][p]), refine.UNSURE)
    padded = np.pad(counts, ((0, 0), (1, 1), (1, 1), (1, 1)))
    for p in places:
        r, g_, b = cell[p]
        odds = np.zeros(k + 1)
        for i in range(k + 1):
            mean = padded[i, r : r + 3, g_ : g_ + 3, b : b + 3].sum()
            whole = sum(padded[i, r_ : r_ + bins, g0 : g0 + bins, b_ : b_ + bins].sum()
                        for r_ in range(3) for g0 in range(3) for b_ in range(3))  # fmt: skip
            odds[i] = max(float(prior[i][p]), refine.UNSURE) * (mean / whole + 1e-5)
        expected = odds[:k] / odds.sum() * near[p]
        np.testing.assert_allclose(got[:, p[0], p[1]].numpy(), expected, atol=1e-9)


def test_neighbours_that_look_alike_ask_to_be_of_one_object():
    """Two objects and the background, slow and literal, against `by_neighbours`."""
    g = torch.Generator().manual_seed(1)
    h, w = 6, 9
    guide = 0.5 + 0.1 * torch.rand(1, 3, h, w, generator=g, dtype=torch.float64)
    shares = torch.rand(1, 2, h, w, generator=g, dtype=torch.float64) / 2
    shares[..., :2] = 0
    got = refine.by_neighbours(guide, shares)[0]
    first = np.concatenate((shares[0], 1 - shares[0].sum(0, keepdim=True)))
    colours, share = guide[0].numpy(), first.copy()
    for _ in range(refine.ROUNDS):
        before, share = share, first.copy()
        for y, x in np.ndindex(h, w):
            if not shares[0, :, y, x].any():
                continue
            said = np.log(np.maximum(first[:, y, x], 1e-4))
            for v, u in np.ndindex(h, w):
                if (v, u) != (y, x) and max(abs(v - y), abs(u - x)) <= 2:
                    change = np.square(colours[:, y, x] - colours[:, v, u]).sum()
                    alike = np.exp(-change / (2 * refine.ALIKE**2))
                    said += refine.BOND / 24 * alike * before[:, v, u]
            share[:, y, x] = np.exp(said) / np.exp(said).sum()
    np.testing.assert_allclose(got.numpy(), share[:2], atol=1e-9)
    assert np.abs(share - first).max() > 0.1


def test_colours_correct_what_patches_got_wrong(monkeypatch):
    """A limb of the object's colour that its patches doubt; the filter alone cannot reach it."""
    truth = np.zeros((60, 84), bool)
    truth[12:36, 24:60] = truth[36:60, 32:40] = True
    colours = np.where(truth[..., None], (190, 60, 40), (50, 110, 160))
    frame = (colours + np.random.default_rng(3).integers(-9, 9, (60, 84, 3))).astype(np.uint8)
    monkeypatch.setattr(refine, "by_neighbours", lambda guide, shares: shares)
    share = np.full((1, 5, 7), 0.05, np.float32)
    share[0, 1:3, 2:5], share[0, 3:5, 2:4] = 0.9, 0.2

    def limb() -> float:
        sharp = refine.sharpen(np.ones((1, 5, 7), np.uint8), share, frame[None])[0] == 1
        return sharp[48:, 32:40].mean()

    with_colours = limb()
    monkeypatch.setattr(refine, "by_colour", lambda guide, masks: masks)
    assert with_colours > 0.7 > 0.3 > limb()


def test_masks_follow_a_planted_edge():
    frame, truth = planted()
    labels = to_patches(truth, 5, 7).astype(np.uint8)[None] * 9
    blocky = refine.nearest(labels, 60, 84)[0] == 9
    sharp = hard(labels, frame[None])[0]
    assert set(np.unique(sharp)) == {0, 9} and sharp.dtype == np.uint8
    wrong = ((sharp == 9) != truth).mean()
    assert wrong < 0.02
    assert wrong < 0.4 * (blocky != truth).mean()


def test_several_objects_share_the_frame_without_gaps_between_them():
    frame, truth = planted()
    labels = np.where(to_patches(truth, 5, 7), 300, 7).astype(np.uint16)[None]
    sharp = hard(labels, frame[None])[0]
    assert set(np.unique(sharp)) == {7, 300} and sharp.dtype == np.uint16
    assert ((sharp == 300) != truth).mean() < 0.02


@pytest.mark.parametrize("colours", [False, True])
def test_a_patch_that_an_object_shares_is_parted_where_the_colours_change(monkeypatch, colours):
    if not colours:
        monkeypatch.setattr(refine, "by_colour", lambda guide, masks: masks)
    frame, truth = planted()
    share = truth.reshape(5, 12, 7, 12).mean((1, 3))[None].astype(np.float32)
    near = np.full((1, 5, 7), 3, np.uint8)
    soft = refine.sharpen(near, share, frame[None])[0] == 3
    whole = hard(np.where(share > 0.5, near, 0).astype(np.uint8), frame[None])[0] == 3
    # With colours nothing is left to gain here: whole patches find the edge as well.
    assert (soft != truth).mean() < (0.005 if colours else (whole != truth).mean())
    assert (whole != truth).mean() < (0.005 if colours else 0.02)
    assert not refine.sharpen(near, 0 * share, frame[None]).any()


@pytest.mark.parametrize("at", [[(8, 12)], [(0, 0)], [(19, 27), (17, 20)], [(3, 3), (16, 25)]])
def test_only_the_surroundings_of_objects_are_filtered_and_the_shares_are_those_of_the_whole(at):
    rng = np.random.default_rng(5)
    frame = rng.integers(0, 256, (12, 17, 3), np.uint8).repeat(17, 0).repeat(19, 1)[:201, :313]
    near, share = np.zeros((20, 28), np.uint8), np.zeros((20, 28), np.float32)
    for i, (y, x) in enumerate(at):
        near[y, x], share[y, x] = 3 + 2 * i, 0.9
        near[y, x - 1], share[y, x - 1] = 3 + 2 * i, 0.3
    ids, got = refine.shares(near, share, frame)
    assert ids.tolist() == [3 + 2 * i for i in range(len(at))]

    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    size = (20 * refine.FINER, 28 * refine.FINER)
    finest = (min(20 * refine.FINEST, 201), min(28 * refine.FINEST, 313))
    guide, colours = (
        F.interpolate(image, n, mode="bilinear", antialias=True).float() / 255
        for n in (size, finest)
    )
    coarse = np.where(near == ids[:, None, None], share, 0).astype(np.float32)
    masks = F.interpolate(torch.from_numpy(coarse)[None], size, mode="bilinear")
    masks = refine.by_neighbours(guide, refine.by_colour(guide, masks))
    fits = guided_fits(guide, masks, refine.RADIUS, refine.EPSILON)
    soft = fitted(F.interpolate(fits, finest, mode="bilinear"), colours[0])
    want = F.interpolate(soft[None], frame.shape[:2], mode="bilinear")[0]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    labels = refine.sharpen(near[None], share[None], frame[None])[0]
    held = np.where(want.sum(0) > refine.LEAST, ids[want.numpy().argmax(0)], 0)
    assert (labels != held).mean() < 1e-4 and labels.any()


@pytest.mark.parametrize("ids", [(0, 0), (4, 4)])
def test_a_frame_of_one_label_stays_so(ids):
    frame, _ = planted()
    labels = np.full((2, 5, 7), ids[0], np.uint8)
    assert (hard(labels, np.stack([frame, frame])) == ids[0]).all()


def test_a_flat_image_gives_the_smooth_mask():
    frame = np.full((1, 50, 70, 3), 127, np.uint8)
    labels = np.zeros((1, 5, 7), np.uint8)
    labels[0, 1:4, 2:5] = 1
    sharp = hard(labels, frame)[0] == 1
    square = refine.nearest(labels, 50, 70)[0] == 1
    assert (sharp & square).sum() / (sharp | square).sum() > 0.6  # its corners get round
    assert (sharp <= square).all()
    assert (sharp == sharp[::-1]).all() and (sharp == sharp[:, ::-1]).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 2, 3), (1, 3, 13, 5)])
def test_tiny_frames_have_an_answer(shape):
    h, w, height, width = shape
    labels = np.ones((1, h, w), np.uint8)
    labels[0, 0, 0] = 0
    frame = np.random.default_rng(1).integers(0, 255, (1, height, width, 3), np.uint8)
    assert hard(labels, frame).shape == (1, height, width)


def test_the_filter_equals_that_of_kornia():
    g = torch.Generator().manual_seed(3)
    guide, mask = (torch.rand(1, c, 31, 47, generator=g, dtype=torch.float64) for c in (3, 2))
    want = guided_blur(guide, mask, 9, 1e-4, border_type="replicate")
    torch.testing.assert_close(fitted(guided_fits(guide, mask, 4, 1e-4), guide[0])[None], want)


def test_the_filter_equals_a_fit_in_every_window():
    g = torch.Generator().manual_seed(2)
    h, w, r, eps = 7, 9, 2, 0.01
    guide, mask = torch.rand(1, 3, h, w, generator=g), torch.rand(1, 2, h, w, generator=g)
    guide, mask = guide.double(), mask.double()
    got = fitted(guided_fits(guide, mask, r, eps), guide[0])[None]
    pad = torch.nn.functional.pad
    big = pad(guide.double(), (r,) * 4, mode="replicate")[0]
    for k in range(2):
        target = pad(mask[:, k : k + 1].double(), (r,) * 4, mode="replicate")[0, 0]
        fits = torch.zeros(4, h, w, dtype=torch.float64)
        for y in range(h):
            for x in range(w):
                c = big[:, y : y + 2 * r + 1, x : x + 2 * r + 1].flatten(1)
                m = target[y : y + 2 * r + 1, x : x + 2 * r + 1].flatten()
                d = c - c.mean(1, keepdim=True)
                n = c.shape[1]
                a = torch.linalg.solve(d @ d.T / n + eps * torch.eye(3), d @ (m - m.mean()) / n)
                fits[:3, y, x], fits[3, y, x] = a, m.mean() - a @ c.mean(1)
        fits = pad(fits[None], (r,) * 4, mode="replicate")[0]
        for y in range(h):
            for x in range(w):
                fit = fits[:, y : y + 2 * r + 1, x : x + 2 * r + 1].mean((1, 2))
                expected = fit[:3] @ guide[0, :, y, x].double() + fit[3]
                assert abs(got[0, k, y, x] - expected) < 1e-9
