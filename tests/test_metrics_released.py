"""Figures of other projects' released evaluations on masks that are made here.

Their functions were run apart, on the masks of `scene`; only what they gave is kept here:
VideoSAUR (martius-lab/videosaur, 81dd9c1, metrics.py: VideoARI, ImageARI, VideoIoU, ImageIoU), SOLV
(gorkaydemir/SOLV, 77693ef, utils.py: Evaluator, in single precision), RandSF.Q
(Genera1Z/RandSF.Q, f85839e, metric.py, in single precision).
"""

import numpy as np
import pytest

from unveil.metrics import PROTOCOLS, Measured

RELEASED = {
    0: {
        "VideoARI": 0.5092756550840626,
        "ImageARI": 0.6527314330522668,
        "VideoIoU": 0.22211917551264895,
        "ImageIoU": 0.3733421043084325,
        "mIoU": [0.16161838173866272, 0.4497695565223694, 0.08728276938199997],
        "FG-ARI of matched": 0.6558831013779951,
        "mBO with the background": 0.22688446938991547,
    },
    2: {
        "VideoARI": 0.6135533119723113,
        "ImageARI": 0.6484159176134943,
        "VideoIoU": 0.26900307091651593,
        "ImageIoU": 0.36168149448670156,
        "mIoU": [0.3084002137184143, 0.35368889570236206, 0.16661420464515686],
        "FG-ARI of matched": 0.646867152740026,
        "mBO with the background": 0.25573933124542236,
    },
}


def scene(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Seven cells, and the truth: three discs, none in the first frame, one late, one leaving."""
    y, x = np.mgrid[:36, :52]
    truth, labels = np.zeros((2, 10, 36, 52), np.int64)
    for t in range(10):
        discs = [(12, 8 + 4 * t, 7), (22, 40 - 3 * t, 9), (26, 5 + 6 * (t - 4), 6)]
        for name, (cy, cx, r) in enumerate(discs, 1):
            if t >= (1, 1, 4)[name - 1]:
                truth[t][(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = name
        seeds = [(7 * i % 36 + t * (i % 3 - 1), (13 * i + 5 + shift * t) % 52) for i in range(7)]
        far = [(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in seeds]
        labels[t] = np.argmin(far, 0) + 1
        labels[t][np.roll(truth[t], shift, 1) == 2] = 3
    return labels, truth


@pytest.mark.parametrize("shift", RELEASED)
def test_figures_are_those_of_released_evaluations(shift):
    labels, truth = scene(shift)
    want, m = RELEASED[shift], Measured(labels, truth)
    ari = PROTOCOLS["fg-ari"].score(m)["values"]
    assert ari["FG-ARI per video"] == pytest.approx(want["VideoARI"], abs=1e-14)
    assert ari["FG-ARI per frame"] == pytest.approx(want["ImageARI"], abs=1e-14)
    assert PROTOCOLS["miou"].score(m)["values"]["mBO"] == pytest.approx(want["VideoIoU"], abs=1e-14)
    solv = PROTOCOLS["solv"].score(m)
    assert [o["mIoU"] for o in solv["objects"]] == pytest.approx(want["mIoU"], abs=1e-7)
    found = solv["values"]["FG-ARI of matched"]
    assert found == pytest.approx(want["FG-ARI of matched"], abs=1e-14)
    # There the background is one object more, and counts as much as any.
    whole = PROTOCOLS["miou"].score(Measured(labels, truth + 1))["values"]["mBO"]
    assert whole == pytest.approx(want["mBO with the background"], abs=1e-7)


@pytest.mark.parametrize("shift", RELEASED)
def test_a_predicted_background_is_a_cluster_as_any_where_it_is_one_there(shift):
    labels, truth = scene(shift)
    want = RELEASED[shift]
    for x in (labels, labels - 1):
        found = PROTOCOLS["videosaur"].score(Measured(x, truth))["values"]
        assert list(found.values()) == pytest.approx(
            [want[n] for n in ("VideoARI", "VideoIoU", "ImageARI", "ImageIoU")], abs=1e-14
        )
    assert PROTOCOLS["miou"].score(Measured(labels - 1, truth))["values"]["mBO"] <= found["mBO"]


def test_means_over_videos_of_other_lengths_are_those_released():
    first, second = scene(0), scene(2)
    videos = [Measured(*first), Measured(second[0][:6], second[1][:6])]
    protocol = PROTOCOLS["videosaur"]
    mean = protocol.mean([protocol.score(m) for m in videos])
    released = (0.6426722204638609, 0.24673440467382363, 0.6964528799917682, 0.3916345377693494)
    assert tuple(mean.values()) == pytest.approx(released, abs=1e-14)
