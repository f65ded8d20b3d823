"""The stages together, on a tiny random backbone: shapes, files and promises, not quality."""

import hashlib
import json

import numpy as np
import pytest

import unveil
from unveil.errors import InputError, WeightsError
from unveil.segmenter import Segmenter, _ranked
from unveil.types import Clusters, Features


@pytest.fixture(scope="module")
def segmenter(tiny_backbone) -> Segmenter:
    return Segmenter(backbone=tiny_backbone, attention="cosine", size=16, precision="fp32", chunk=3)


def clip(t: int = 5, h: int = 17, w: int = 23) -> np.ndarray:
    """A bright square that walks over dark noise."""
    frames = np.random.default_rng(0).integers(0, 60, (t, h, w, 3), dtype=np.uint8)
    for i in range(t):
        frames[i, 4:12, 2 + 2 * i : 10 + 2 * i] = 230
    return frames


@pytest.mark.parametrize("t", [1, 2, 3, 7, 11])
def test_any_number_of_frames_keeps_its_size(segmenter, t):
    got = segmenter(clip(t))
    assert got.labels.shape == (t, 17, 23)
    assert got.labels.min() >= 1
    assert set(np.unique(got.labels)) <= set(got.ids)
    assert all(0 <= got.scores[i] <= 1 for i in got.ids)
    assert got.frames.shape == (t, 17, 23, 3)


def test_the_chunk_size_changes_nothing(segmenter, tiny_backbone):
    other = Segmenter(segmenter.settings, chunk=11)
    np.testing.assert_array_equal(segmenter(clip(7)).labels, other(clip(7)).labels)


def test_streaming_to_a_folder_equals_saving_what_is_in_memory(segmenter, tmp_path):
    run = segmenter.segment_to(clip(), tmp_path / "a")
    segmenter(clip()).save(tmp_path / "b")
    for name in [
        "overlay.mp4",
        "objects.json",
        "contact.png",
        "masks/00000.png",
        "masks/00004.png",
    ]:
        digests = {hashlib.sha256((tmp_path / x / name).read_bytes()).digest() for x in "ab"}
        assert len(digests) == 1, name
    written = json.loads((tmp_path / "a" / "run.json").read_text())
    assert written["video"]["frames"] == run["video"]["frames"] == 5
    assert {"decode", "backbone", "clustering", "refine", "write"} <= set(written["seconds"])
    assert written["peak_memory_mb"] > 0


def test_an_error_half_way_leaves_no_folder(segmenter, tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError("stage failed")

    monkeypatch.setattr("unveil.refine.nearest", broken)
    with pytest.raises(RuntimeError, match="stage failed"):
        segmenter.segment_to(clip(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_its_end(segmenter):
    seen = {}
    segmenter(clip(), on_progress=lambda stage, done, total: seen.update({stage: (done, total)}))
    assert seen["backbone"] == (5, 5)
    assert seen["writing"] == (5, 5)
    assert seen["clustering"][0] == seen["clustering"][1]


def test_ids_go_by_saliency_and_skip_empty_clusters():
    import torch

    labels = torch.tensor([[[0, 0, 2], [2, 3, 3]]])
    saliency = torch.tensor([[[0.1, 0.1, 0.3], [0.3, 0.1, 0.1]]])
    features = Features(torch.zeros(1, 2, 3, 4), 14, saliency)
    found = _ranked(Clusters(labels, torch.zeros(4, 5)), features)
    assert found.ids.tolist() == [[[2, 2, 1], [1, 3, 3]]]
    assert found.ids.dtype == np.uint8
    assert found.scores == {1: 0.6429, 2: 0.375, 3: 0.375}


def test_more_than_255_clusters_need_two_bytes():
    import torch

    labels = torch.arange(300).reshape(1, 15, 20)
    features = Features(torch.zeros(1, 15, 20, 4), 14, torch.full((1, 15, 20), 1 / 300))
    found = _ranked(Clusters(labels, torch.zeros(300, 5)), features)
    assert found.ids.dtype == np.uint16
    assert len(found.scores) == 300


def test_the_one_call(tiny_backbone):
    options = {"backbone": tiny_backbone, "attention": "cosine", "size": 16, "stride": 2}
    got = unveil.segment(clip(), **options)
    assert len(got.labels) == 3
    first = next(iter(got))
    assert first.masks.dtype == bool
    np.testing.assert_array_equal(first.masks, got.masks(first.id))
    assert got.overlay().shape == got.frames.shape


def test_what_cannot_be_set_is_said(tiny_backbone):
    with pytest.raises(InputError, match="no such setting: 'colour'"):
        Segmenter(colour=3)
    with pytest.raises(WeightsError, match="no block was trained for backbone"):
        Segmenter(backbone=tiny_backbone)
    with pytest.raises(InputError, match="no object 99"):
        unveil.segment(clip(), backbone=tiny_backbone, attention="cosine", size=16).masks(99)
