"""Labels while frames arrive: bounded delay, ids that last, no dependence on chunks."""

import numpy as np
import pytest

from test_cluster_fast import iou, moving, scene
from unveil.segmentation.stream import Stream
from unveil.types import Features


def play(stream: Stream, labels: np.ndarray, chunk: int) -> tuple[np.ndarray, int]:
    """The ids of all frames, and how many frames ever waited at once."""
    features = scene(labels)
    frames = np.zeros((len(labels), 4, 4, 3), np.uint8)
    frames[:] = np.arange(len(labels))[:, None, None, None] % 256
    frames[:, 1, 1] ^= 128  # frames of one colour would show nothing
    out, shown, longest = [], [], 0
    for i in range(0, len(labels), chunk):
        part = slice(i, i + chunk)
        some = Features(features.keys[part], 14, features.saliency[part])
        for labelled in stream.add(some, frames[part]):
            shown.append(labelled.frames)
            out.append(labelled.ids)
        longest = max(longest, min(i + chunk, len(labels)) - sum(map(len, out)))
    for labelled in stream.flush():
        shown.append(labelled.frames)
        out.append(labelled.ids)
    assert np.array_equal(np.concatenate(shown), frames)
    return np.concatenate(out), longest


def test_every_frame_comes_back_labelled_and_in_time():
    labels = moving(45)
    stream = Stream()
    ids, longest = play(stream, labels, 1)
    assert ids.shape == labels.shape
    assert longest <= stream.delay
    assert iou(ids > 0, labels > 0) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [3, 8, 45])
def test_the_answer_does_not_depend_on_the_chunks(chunk):
    labels = moving(45)
    assert np.array_equal(play(Stream(), labels, 1)[0], play(Stream(), labels, chunk)[0])


@pytest.mark.slow
def test_an_object_keeps_its_id_when_memory_no_longer_holds_it():
    labels = np.zeros((96, 9, 13), int)
    labels[:24, 3:6, 4:8] = 1
    labels[24:72, 2:5, 6:10] = 2
    labels[72:, 3:6, 5:9] = 1
    ids, _ = play(Stream(warm_up=2, memory=3), labels, 8)
    names = [np.bincount(ids[i][labels[i] > 0]).argmax() for i in (4, 20, 40, 60, 80, 94)]
    assert names[0] == names[1] == names[4] == names[5] != 0
    assert names[2] == names[3] not in (0, names[0])


def test_a_video_shorter_than_the_warm_up_is_labelled_at_its_end():
    labels = moving(5)
    ids, _ = play(Stream(), labels, 2)
    assert ids.shape == labels.shape and (ids > 0).any()
    assert list(Stream().flush()) == []
