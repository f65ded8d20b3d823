"""What moves against the dominant motion: a planted square over a panning texture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from oracles.motion_slow import fit
from unveil.fast import motion
from unveil.fast.groups import FAINT, Grouper, look_again
from unveil.fast.motion import grey, own_motion, samples
from unveil.types import Features

H, W = 8, 12


def panning(
    t: int = 7, pan: float = 3, own: float = -4, square: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Frames 96x144 that pan, with a square moving the other way; patches of the square."""
    rng = np.random.default_rng(0)
    far, near = (gaussian_filter(rng.random((96, 400)), 2) for _ in range(2))
    far, near = ((x - x.min()) / np.ptp(x) * 255 for x in (far, near))
    frames, inside = [], np.zeros((t, H, W), bool)
    for i in range(t):
        x = int(70 + own * i)
        frame = far[:, int(pan * i) : int(pan * i) + 144].copy()
        if square:
            frame[36:72, x : x + 36] = near[36:72, :36]
        frames.append(np.repeat(frame[..., None], 3, 2).astype(np.uint8))
        inside[i, 3:6, (x + 6) // 12 : (x + 42) // 12] = True
    return np.stack(frames), inside


def shrink(frames: np.ndarray, h: int, w: int) -> torch.Tensor:
    return grey(samples(frames, h, w))


def attention(inside: np.ndarray, blur: float = 1.5) -> torch.Tensor:
    """What a class token pays: most to the square, some to all around it, a little everywhere."""
    return torch.from_numpy(gaussian_filter(inside.astype(np.float32), blur)) + 0.05


def test_the_dominant_motion_is_told_from_the_motion_of_what_is_salient():
    frames, inside = panning()
    found = own_motion(shrink(frames, H, W)[[3, 0, 6]], attention(inside[3])).numpy()
    assert np.median(found[inside[3]]) > 1
    assert np.median(found[~inside[3]]) < -1


@pytest.mark.parametrize("pan", [8, 14, 20])
def test_a_camera_may_turn_quickly_after_what_it_follows(pan):
    """By up to 60 of 144 px in three frames, of a texture that is 4 px wide."""
    frames, inside = panning(pan=pan, own=0)
    found = own_motion(shrink(frames, H, W)[[3, 0, 6]], attention(inside[3])).numpy()
    assert np.median(found[inside[3]]) > 1
    assert np.median(found[~inside[3]]) < -1


def test_what_flickers_moves_with_neither():
    frames, inside = panning()
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (len(frames), 36, 48, 1)).repeat(3, 3).astype(np.uint8)
    frames[:, :36, :48] = noise
    found = own_motion(shrink(frames, H, W)[[3, 0, 6]], attention(inside[3])).numpy()
    assert np.abs(found[:3, :4]).mean() < 0.5
    assert np.median(found[inside[3]]) > 1


def test_how_finely_features_are_cut_changes_nothing_of_the_motion():
    frames, inside = panning(pan=1, own=-2)
    coarse, fine = shrink(frames, 24, 36), shrink(frames, 48, 72)
    assert coarse.shape[1:] == (96, 144) and torch.equal(coarse, fine)
    weight = attention(inside[3]).repeat_interleave(3, 0).repeat_interleave(3, 1)
    found = own_motion(coarse[[3, 0, 6]], weight)
    finer = own_motion(fine[[3, 0, 6]], weight.repeat_interleave(2, 0).repeat_interleave(2, 1))
    pooled = torch.nn.functional.avg_pool2d(finer[None], 2)[0]
    assert np.corrcoef(pooled.flatten(), found.flatten())[0, 1] > 0.95
    assert shrink(frames, H, W).shape[1:] == (4 * H, 4 * W)


@pytest.mark.parametrize("pan", [0, 3])
def test_nothing_is_said_where_all_moves_alike(pan):
    frames, inside = panning(pan=pan, square=False)
    small = shrink(frames, H, W)[[3, 0, 6]]
    small[0, 0, 0] += 1  # else frames that do not pan are the same
    assert own_motion(small, attention(inside[3])).abs().mean() < 0.3


def test_one_frame_has_no_motion_and_two_have():
    frames, inside = panning(2)
    small = shrink(frames, H, W)
    assert own_motion(small[:1], attention(inside[0])) is None
    assert own_motion(small[[0, 0]], attention(inside[0])) is None
    assert own_motion(small, attention(inside[1])).shape == (H, W)


@pytest.mark.parametrize("columns", [1, 3])
def test_steps_of_pairs_equal_those_with_the_jacobian_of_every_sample(columns):
    frames = grey(torch.from_numpy(panning()[0]).permute(0, 3, 1, 2))
    weight = torch.rand(2, 1, 96, 144, generator=torch.Generator().manual_seed(1))
    a, b = frames[[3, 4]][:, None], frames[[2, 6]][:, None]
    start = torch.eye(2, 3).expand(2, 2, 3)
    got = motion.refine_fit(a, b, weight, start, columns)
    for i in range(2):
        want = fit(a[i, 0], b[i, 0], weight[i, 0], columns, motion.STEPS)
        torch.testing.assert_close(got[i], want, atol=1e-4, rtol=0)
        assert (want - torch.eye(2, 3)).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(20, 20), (1, 1), (3, 200)])
def test_flat_frames_and_tiny_grids_are_no_trouble(shape):
    some = np.full((3, *shape, 3), 7, np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None, None]
    for h, w in ((1, 1), (2, 3), (5, 5)):
        for saliency in (torch.ones(h, w), torch.zeros(h, w)):
            assert torch.isfinite(own_motion(shrink(some, h, w), saliency)).all()


def test_groups_know_how_they_move_whatever_the_chunks():
    frames, inside = panning(11)
    keys = torch.randn(11, H, W, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    keys[torch.from_numpy(inside)] += 1
    saliency = torch.stack([attention(x) for x in inside])

    def group(chunk: int):
        grouper = Grouper(groups=12)
        for i in range(0, 11, chunk):
            part = slice(i, i + chunk)
            grouper.add(Features(keys[part], 12, saliency[part]), frames[part])
        return grouper.finish()

    groups = group(11)
    square = np.bincount(groups.ids[inside], minlength=len(groups)) > 0.9 * groups.counts.numpy()
    known = groups.measured.numpy() > 0
    assert groups.motion.numpy()[square & known].mean() > 1
    assert groups.motion.numpy()[~square & known].mean() < -1
    torch.testing.assert_close(group(3).motion, groups.motion)


def test_at_a_second_look_what_goes_with_an_object_is_told_from_what_is_salient_by_mistake():
    """The class token attends to a bright thing that stands still as much as to what moves."""
    frames, inside = panning(11)
    wrong = np.zeros_like(inside)
    wrong[:, :2, :4] = True
    keys = torch.randn(11, H, W, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    keys[torch.from_numpy(inside)] += 1
    keys[torch.from_numpy(wrong), 0] -= 2
    grouper = Grouper()
    saliency = torch.stack([attention(x) for x in inside | wrong])
    grouper.add(Features(keys, 12, saliency), frames)
    groups = grouper.finish()
    assert groups.glimpses.shape == (2, 3, 4 * H, 4 * W)
    share = np.zeros(len(groups))
    share[np.unique(groups.ids[inside])] = 1.0
    again = look_again(groups, share)
    for i in (0, 1):
        at = (4, 9)[i]
        weight = torch.from_numpy(share[groups.ids[at]]).float() + FAINT
        want = own_motion(groups.glimpses[i].float(), weight).numpy()
        here = groups.ids[at]
        for group in np.unique(here):
            got = float(again.motion[group]), float(again.measured[group])
            assert got == pytest.approx(
                (want[here == group].mean(), (here == group).sum()), abs=1e-4
            )
    torch.testing.assert_close(
        look_again(replace(groups, dominant=None), share).motion, again.motion
    )  # of a file that an earlier version wrote
    kept = look_again(groups, share, since=1)
    first = groups.block == 0
    assert torch.equal(kept.motion[first], groups.motion[first])
    assert torch.equal(kept.motion[~first], again.motion[~first])
    assert look_again(replace(groups, glimpses=None), share).motion is groups.motion
