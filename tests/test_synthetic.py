"""The synthetic benchmark: exact, seeded, and not to be solved by colours."""

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment

from unveil.errors import InputError
from unveil.synthetic.render import benchmark, render
from unveil.synthetic.scenario import SCENARIOS


def areas(labels: np.ndarray, id: int) -> np.ndarray:
    return (labels == id).sum((1, 2))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    once, again, other = (render(s, 5, 47, 61, scenario="crowd", objects=5) for s in (3, 3, 4))
    assert np.array_equal(once.frames, again.frames)
    assert np.array_equal(once.labels, again.labels)
    assert not np.array_equal(once.frames, other.frames)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 33, 53), (7, 64, 37)])
def test_every_scenario_renders_at_odd_sizes(scenario, frames, height, width):
    clip = render(2, frames, height, width, objects=3, scenario=scenario)
    assert clip.frames.shape == (frames, height, width, 3) and clip.frames.dtype == np.uint8
    assert clip.labels.shape == (frames, height, width) and clip.labels.dtype == np.uint8
    assert clip.labels.max() <= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_hidden_object_is_seen_before_and_after_and_not_in_between(seed):
    labels = render(seed, 24, 96, 160, objects=4, scenario="occlusion").labels
    seen = areas(labels, 1)
    assert (seen[:4] > 60).all() and (seen[-4:] > 60).all()
    assert (seen[10:14] == 0).all()
    assert (areas(labels, 2) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_returning_object_leaves_through_the_border(seed):
    labels = render(seed, 24, 96, 160, objects=3, scenario="return").labels
    seen = areas(labels, 1)
    assert seen[0] > 100 and seen[-1] > 100 and (seen[11:13] == 0).all()
    going = labels[np.flatnonzero(seen == 0)[0] - 1] == 1
    assert going[:, 0].any() or going[:, -1].any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_the_late_object_is_absent_at_first(seed):
    seen = areas(render(seed, 24, 96, 160, objects=3, scenario="late").labels, 3)
    assert (seen[:8] == 0).all() and seen[-1] > 100


def test_the_calm_objects_move_and_bend():
    labels = render(0, 12, 96, 160, objects=2, scenario="calm").labels
    for id in (1, 2):
        first, last = labels[0] == id, labels[-1] == id
        assert first.any() and last.any()
        assert (first & last).sum() < 0.9 * (first | last).sum()


def test_the_ground_moves():
    clip = render(0, 6, 64, 96, objects=1)
    still = (clip.labels == 0).all(0)
    change = np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean(-1)[still]
    assert change.mean() > 5


def colour_clusters(frames: np.ndarray, k: int) -> np.ndarray:
    """What clustering colours alone finds, [T, H, W]."""
    colours = frames.reshape(-1, 3).astype(float)
    _, labels = kmeans2(colours, k, minit="++", seed=0, iter=15)
    return labels.reshape(frames.shape[:3])


def matched_iou(labels: np.ndarray, truth: np.ndarray) -> float:
    iou = np.array(
        [
            [((truth == i) & (labels == k)).sum() / ((truth == i) | (labels == k)).sum()
             for k in np.unique(labels)]
            for i in np.unique(truth[truth > 0])
        ]
    )  # fmt: skip
    return iou[linear_sum_assignment(-iou)].mean()


@pytest.mark.slow
def test_clustering_colours_fails_even_with_the_number_of_objects_given():
    scores = []
    for recipe in benchmark(5, seed=0):
        clip = render(frames=6, height=96, width=160, **recipe)
        for k in (recipe["objects"] + 1, 3 * recipe["objects"]):
            scores.append(matched_iou(colour_clusters(clip.frames, k), clip.labels))
    assert max(scores) < 0.4 and np.mean(scores) < 0.25


def test_the_benchmark_covers_every_scenario_and_repeats_itself():
    recipes = benchmark(10, seed=7)
    assert {r["scenario"] for r in recipes} == set(SCENARIOS)
    assert recipes == benchmark(10, seed=7) != benchmark(10, seed=8)
    assert recipes[:4] == benchmark(4, seed=7)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scenario": "storm"}, "calm, occlusion"),
        ({"scenario": "occlusion", "objects": 1}, "2 … 20"),
        ({"objects": 21}, "1 … 20"),
        ({"height": 16}, "32x32"),
        ({"frames": 0}, "at least 1 frame"),
    ],
)
def test_arguments_that_cannot_be_drawn_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        render(0, **wrong)
