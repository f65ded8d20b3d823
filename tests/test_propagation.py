"""Features between key frames: which frames the backbone sees, and what the others get."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unveil.attention.objects_head import ObjectsHead, told
from unveil.errors import InputError
from unveil.fast.groups import Grouper
from unveil.features.backbone import Backbone
from unveil.features.propagation import NOISE, PACES, Propagation, _Way
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.types import Features

pytest.importorskip("cv2")


class Colours(Backbone):
    """A backbone whose keys are the colours of the patches: what carries them can be seen."""

    patch = 4
    device = torch.device("cpu")

    def __init__(self):
        self.encoded = 0

    def grid(self, height, width, size=48):
        return height // self.patch, width // self.patch

    def encode(self, frames, size=48, batch=4, on_frames=None):
        self.encoded += len(frames)
        x = torch.from_numpy(np.ascontiguousarray(frames)).float().permute(0, 3, 1, 2)
        keys = F.avg_pool2d(x, self.patch).permute(0, 2, 3, 1)
        return Features(keys, self.patch, keys.mean(-1))


def panned(t: int, step: int, h: int = 48, w: int = 64) -> np.ndarray:
    """A smooth picture that moves `step` px a frame to the left."""
    noise = torch.from_numpy(np.random.default_rng(0).random((1, 3, 14, 40))).float()
    wide = F.interpolate(noise, (h, w + t * step), mode="bicubic").clamp(0, 1)[0]
    picture = (wide * 255).byte().permute(1, 2, 0).numpy()
    return np.stack([picture[:, i * step : i * step + w] for i in range(t)])


def together(seen) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    frames, features = zip(*seen, strict=True)
    keys = torch.cat([f.keys for f in features])
    return np.concatenate(frames), keys, torch.cat([f.saliency for f in features])


def run(frames, pace, chunk=16):
    backbone = Colours()
    encoder = Propagation(backbone, 48, pace)
    chunks = [frames[i : i + chunk] for i in range(0, len(frames), chunk)]
    return *together(encoder.each(chunks)), backbone.encoded


@pytest.mark.parametrize("pace", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("t", [1, 2, 3, 9])
def test_every_frame_comes_back_once_and_chunks_do_not_matter(pace, t):
    frames = panned(t, 2)
    whole = run(frames, pace)
    assert np.array_equal(whole[0], frames) and len(whole[1]) == len(whole[2]) == t
    for chunk in (1, 3):
        other = run(frames, pace, chunk)
        torch.testing.assert_close(other[1], whole[1])
        assert other[3] == whole[3]


def test_key_frames_are_exact_and_spread_evenly():
    frames = panned(21, 2)
    exact = run(frames, PACES["exact"])[1]
    for pace, at in (
        (4, [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20]),
        (3, [0, 2, 5, 7, 10, 13, 15, 18, 20]),
        (1, [0, 7, 15, 20]),
    ):
        _, keys, saliency, encoded = run(frames, pace)
        assert encoded == len(at)
        torch.testing.assert_close(keys[at], exact[at])
        torch.testing.assert_close(saliency, keys.mean(-1))


def test_a_patch_takes_more_of_the_frame_that_looks_like_it():
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[3, :, :32] = 200  # what frame 2 does not show yet
    frames[:3, :, 32:] = 100
    frames[2, :, 32:] = frames[3, :, 32:] = 140  # and what it shows already
    keys = run(frames, 4)[1]
    assert (keys[2, :, :7] < 20).all() and (keys[2, :, 9:] > 130).all()


def test_keys_follow_what_moves():
    frames = panned(8, 2)
    exact = run(frames, PACES["exact"])[1]
    carried = run(frames, 2)[1]
    still = exact[[0, 3, 3, 3, 3, 7]]  # the nearest key frame
    wrong = (carried - exact)[1:7][:, 1:-1, 3:-3].abs().mean()
    assert wrong < 0.4 * (still - exact[1:7])[:, 1:-1, 3:-3].abs().mean()


def test_what_moves_too_far_for_one_search_is_followed_frame_by_frame():
    """By a third of the frame's width from one key frame to the next."""
    frames = panned(8, 4)
    exact = run(frames, PACES["exact"])[1]
    carried = run(frames, 1)[1]
    inner = (slice(None), slice(1, -1), slice(3, -3))
    assert (carried - exact)[inner].abs().mean() < 3


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 5), (7, 3)])
def test_what_flow_takes_is_what_a_sampler_takes(h, w):
    """Torch's bilinear sampler with repeated borders, and places beyond them."""
    g = torch.Generator().manual_seed(h)
    values, flow = torch.randn(h, w, 4, generator=g), 3 * torch.randn(2, h, w, generator=g)
    places, weights = _Way(flow, torch.rand(h, w, generator=g)).taken(away=2)
    share = weights / weights.sum(1, keepdim=True)
    got = (values.flatten(0, 1)[places] * share[..., None]).sum(1).unflatten(0, (h, w))
    at = F.affine_grid(torch.eye(2, 3)[None], [1, 1, h, w], align_corners=False)
    at = at + flow.permute(1, 2, 0) * torch.tensor((2 / w, 2 / h))
    want = F.grid_sample(
        values.permute(2, 0, 1)[None], at, padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(got, want[0].permute(1, 2, 0), atol=1e-5, rtol=1e-4)


def test_less_is_taken_of_what_is_further_away_and_explains_worse():
    error = torch.tensor([[0.0, 30.0]])
    way = _Way(torch.zeros(2, 1, 2), error)
    near, far = (way.taken(away)[1].sum(1) for away in (1, 4))
    torch.testing.assert_close(near, 2 * far)
    torch.testing.assert_close(near[0] / near[1], torch.tensor((30 + NOISE) / NOISE))


def test_a_block_of_the_stream_waits_for_no_later_frame():
    """`Segmenter.stream` takes eight frames at a time and promises a delay."""
    for pace in PACES.values():
        encoder = Propagation(Colours(), 48, pace)
        for i in range(0, 24, 8):
            assert sum(len(frames) for frames, _ in encoder.add(panned(24, 2)[i : i + 8])) == 8


def test_exact_is_the_backbone_itself(tiny_backbone):
    frames = panned(5, 2)
    backbone = Backbone(tiny_backbone, "cpu", torch.float32)
    ((same, got),) = Propagation(backbone, 16, PACES["exact"]).each([frames])
    assert same is frames and torch.equal(got.keys, backbone.encode(frames, 16).keys)


@pytest.mark.parametrize("name", ["balanced", "fast"])
def test_the_head_is_asked_for_key_frames_and_its_answers_are_carried(name):
    """Answers that are linear in the keys must come out as those of the keys that are carried."""
    asked = []

    def objects(keys):
        asked.append(len(keys))
        return keys[..., :2] * 3 + 1

    encoder = Propagation(Colours(), 48, PACES[name], objects)
    seen = list(encoder.each([panned(21, 2)]))
    keys, told = (torch.cat(x) for x in zip(*((f.keys, f.objects) for _, f in seen), strict=True))
    assert sum(asked) == encoder.backbone.encoded < 21
    torch.testing.assert_close(told, keys[..., :2] * 3 + 1)


def test_the_head_asked_before_says_what_it_says_when_asked_by_the_grouper():
    g = torch.Generator().manual_seed(0)
    head, keys = (
        ObjectsHead(16, width=8, layers=1, heads=2).eval(),
        torch.randn(8, 5, 6, 16, generator=g),
    )
    frames, saliency = np.zeros((8, 35, 42, 3), np.uint8) + 99, torch.rand(8, 5, 6, generator=g)
    found = []
    for objects in (None, told(head, keys)):
        grouper = Grouper(head)
        grouper.add(Features(keys, 7, saliency, objects), frames)
        found.append(grouper.finish())
    assert np.array_equal(found[0].ids, found[1].ids)
    assert torch.equal(found[0].objectness, found[1].objectness)


@pytest.mark.parametrize("speed", ["balanced", "fast"])
def test_a_segmentation_at_each_speed(tiny_backbone, speed):
    frames = panned(11, 2)
    small = {"backbone": tiny_backbone, "size": 16, "precision": "fp32", "chunk": 3}
    segmenter = Segmenter(speed=speed, **small)
    assert segmenter(frames).labels.shape == frames.shape[:3]
    streamed = list(segmenter.stream(frames))
    assert np.array_equal(np.concatenate([f for f, _ in streamed]), frames)


@pytest.mark.parametrize("speed", ["balanced", "fast"])
def test_without_opencv_it_is_said_what_to_do(tiny_backbone, monkeypatch, speed):
    monkeypatch.setitem(sys.modules, "cv2", None)
    said = rf"speed {speed} needs OpenCV: pip install 'unveil\[fast\]'"
    with pytest.raises(InputError, match=said):
        Segmenter(backbone=tiny_backbone, speed=speed)


def test_paper_mode_is_exact():
    with pytest.raises(InputError, match="speed fast means nothing in paper mode"):
        Settings(mode="paper", speed="fast")
