"""Every measure against official figures, other programs, slow loops, and cases worked by hand."""

import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.morphology import disk
from sklearn.metrics import adjusted_rand_score

from oracles import davis_plain, solv_plain, video_ap_coco, video_ap_slow
from unveil.datasets import open_dataset
from unveil.errors import DataError
from unveil.evaluate.predictions import locate, read_prediction
from unveil.metrics import PROTOCOLS, Measured, clustering, davis, detection, steadiness
from unveil.metrics.boundary import boundaries, dilate, f_matrix, tolerance

LIKE_THE_TOOLKIT = 1e-9


def strip(*rows: str) -> np.ndarray:
    """Frames of one row of pixels each, from text: `.` background, `#` void, digits ids."""
    codes = {".": 0, "#": 255}
    pixels = [[codes.get(c, int(c) if c.isdigit() else 0) for c in row] for row in rows]
    return np.array(pixels, np.uint8)[:, None, :]


def values(name: str, labels: np.ndarray, truth: np.ndarray, scores=None) -> dict:
    return PROTOCOLS[name].score(Measured(labels, truth, scores or {}))["values"]


def blobs(rng, t, h, w, ids, smooth=3) -> np.ndarray:
    """Random patches of labels, coarse enough to have inside and outline."""
    coarse = rng.integers(0, ids + 1, (t, -(-h // smooth), -(-w // smooth)))
    return coarse.repeat(smooth, 1).repeat(smooth, 2)[:, :h, :w].astype(np.uint8)


# --- J and F against the official toolkit ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bmx-trees", "car-shadow", "dog", "scooter-black"])
def test_j_and_f_of_every_frame_are_those_of_the_official_toolkit(name, shared):
    sequence = open_dataset("davis2016", shared / "davis").select([name]).sequences[0]
    truth = sequence.truth()
    place = locate(shared / "oracle" / "masks", name)
    labels = read_prediction(place, sequence.frame_names(), truth.shape[1:], name).labels
    (scored,) = PROTOCOLS["davis2016"].score(Measured(labels, truth))["objects"]
    expected = json.loads((shared / "oracle/expected_jf.json").read_text())[name]
    for measure in "JF":
        assert expected[measure][0] is expected[measure][-1] is None
        difference = np.abs(np.array(scored[measure]) - expected[measure][1:-1])
        assert difference.max() <= LIKE_THE_TOOLKIT


@pytest.mark.slow
@pytest.mark.parametrize(("h", "w"), [(17, 23), (31, 130), (7, 7)])
@pytest.mark.parametrize(("proposals", "objects"), [(1, 3), (4, 2), (3, 3)])
def test_the_standard_protocol_is_the_toolkits_loops(h, w, proposals, objects):
    rng = np.random.default_rng(h * proposals)
    truth = blobs(rng, 3, h, w, objects)
    truth[rng.random(truth.shape) < 0.05] = 255
    truth[0][truth[0] == 1] = 0
    labels = blobs(rng, 3, h, w, proposals)
    j, f, _ = davis.match_sequence(Measured(labels, truth))
    expected_j, expected_f = davis_plain.unsupervised(labels, truth)
    assert np.abs(j - expected_j).max() <= LIKE_THE_TOOLKIT
    assert np.abs(f - expected_f).max() <= LIKE_THE_TOOLKIT


def test_an_object_that_fills_a_frame_has_no_boundary_to_miss():
    truth = np.ones((3, 12, 12), np.uint8)
    truth[2, :6] = 2
    labels = np.zeros_like(truth)
    labels[2, :6] = 1
    j, f, matched = davis.match_sequence(Measured(labels, truth))
    expected_j, expected_f = davis_plain.unsupervised(labels, truth)
    assert np.array_equal(j, expected_j) and np.array_equal(f, expected_f)
    assert matched == [None, 1] and f[:2, 0].tolist() == [1, 1]


@pytest.mark.parametrize("wrong", ["labels", "truth"])
def test_ids_below_0_are_refused(wrong):
    given = {"labels": np.ones((1, 2, 2), int), "truth": np.ones((1, 2, 2), int)}
    given[wrong][0, 0, 0] = -1
    with pytest.raises(DataError, match=f"{wrong}: -1 is no id"):
        Measured(**given)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 8, 11])
@pytest.mark.parametrize("shape", [(3, 41), (29, 31), (1, 1)])
def test_dilation_is_that_by_a_disk(radius, shape):
    picture = np.random.default_rng(radius).random(shape) < 0.02
    picture[0, 0] = True
    assert np.array_equal(dilate(picture, radius), binary_dilation(picture, disk(radius)))


def test_boundaries_are_those_of_the_toolkit_up_to_the_border():
    rng = np.random.default_rng(0)
    labels = blobs(rng, 1, 13, 17, 3)[0]
    for i, found in enumerate(boundaries(labels, 4, 2), 1):
        expected = np.flatnonzero(davis_plain.outline(labels == i))
        assert np.array_equal(found.pixels, expected)


def test_the_tolerance_is_8_px_at_480p():
    assert tolerance(480, 854) == 8 and tolerance(7, 7) == 1


def test_f_without_boundaries():
    full, none = np.ones((5, 5), np.uint8), np.zeros((5, 5), np.uint8)
    half = none.copy()
    half[:, :2] = 1
    f = {}
    for a, x in (("full", full), ("none", none), ("half", half)):
        for b, y in (("full", full), ("none", none), ("half", half)):
            f[a, b] = f_matrix(boundaries(x, 1, 1), boundaries(y, 1, 1))[0, 0]
    assert f["full", "full"] == f["none", "none"] == f["full", "none"] == f["half", "half"] == 1
    assert f["half", "none"] == f["none", "half"] == 0


# --- protocols on a few pixels, worked out by hand ---


def test_void_pixels_count_for_nothing():
    truth, labels = strip("11##...."), strip("11111...")
    # Without void: 2 shared of 3 (one pixel too many).
    assert values("davis2017", labels, truth)["J"] == pytest.approx(2 / 3)
    assert values("foreground", labels, truth)["J"] == pytest.approx(2 / 3)


def test_an_object_that_appears_late_scores_1_while_both_are_absent():
    truth = strip("........", "........", "..11....", "..11....")
    assert values("davis2017", truth, truth)["J"] == 1
    late = strip("........", "..1.....", "..11....", "........")
    # Frame by frame: both absent 1, predicted where nothing is 0, right 1, missed 0.
    assert values("davis2017", late, truth)["J"] == 2 / 4


def test_objects_without_a_proposal_are_matched_with_an_empty_one():
    truth = strip("11..22..", "11......")
    labels = strip("33......", "33......")
    # Object 1 is met; object 2 is missed in one frame, absent in the other (empty union: 1).
    assert values("davis2017", labels, truth)["J"] == (1 + 1 / 2) / 2


def test_two_proposals_for_one_object_only_one_counts():
    truth, labels = strip("11111111.."), strip("1111122222")
    # 5 of 8 beats 3 of 10.
    assert values("davis2017", labels, truth)["J"] == 5 / 8
    assert values("davis2016", *(np.repeat(x, 3, 0) for x in (labels, truth)))["J"] == 5 / 8
    assert values("miou", labels, truth) == {"mIoU": 5 / 8, "mBO": 5 / 8}


def test_matching_per_frame_hides_an_id_switch_that_the_standard_one_counts():
    truth = strip("111.....", "111.....", "111.....", "111.....")
    labels = strip("111.....", "111.....", "222.....", "222.....")
    assert values("davis2017-per-frame", labels, truth)["J"] == 1
    assert values("davis2017", labels, truth)["J"] == 1 / 2
    assert values("steadiness", labels, truth)["id switches"] == 1
    assert values("steadiness", truth, truth)["id switches"] == 0


def test_more_proposals_than_allowed_are_refused():
    truth = np.zeros((1, 1, 301), np.uint8)
    truth[..., 3] = 1
    for name, limit in (("davis2017", 20), ("davis2017-per-frame", 300)):
        labels = np.arange(301, dtype=np.uint16)[None, None].copy()
        labels[labels > limit] = 0
        PROTOCOLS[name].score(Measured(labels, truth))
        labels[..., 0] = limit + 1
        with pytest.raises(DataError, match=f"{limit + 1} proposals, .* allows {limit}"):
            PROTOCOLS[name].score(Measured(labels, truth))


def test_davis_2016_leaves_out_the_first_and_the_last_frame():
    truth = strip("11..", "11..", "11..", "11..", "11..")
    labels = strip("...1", "11..", "1...", "11..", "...1")
    scored = values("davis2016", labels, truth)
    assert scored["J"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert scored["J recall"] == pytest.approx(2 / 3)  # above 0.5, not at it
    with pytest.raises(DataError, match="at least 3 frames"):
        values("davis2016", labels[:2], truth[:2])


def test_decay_is_the_first_quarter_less_the_last():
    series = np.array([1.0, 1.0, 0.8, 0.6, 0.5, 0.4, 0.2, 0.0])
    # Ends at round(linspace(1, 8, 5)) = 1, 3, 4 or 5, 6, 8: frames 1 to 3, and 6 to 8.
    mean, recall, decay = davis.statistics(series)
    assert mean == pytest.approx(4.5 / 8) and recall == 4 / 8
    assert decay == pytest.approx((1 + 1 + 0.8) / 3 - (0.4 + 0.2 + 0.0) / 3)


def test_means_are_over_objects_not_over_sequences():
    one = PROTOCOLS["davis2017"].score(Measured(strip("11.."), strip("11..")))
    three = PROTOCOLS["davis2017"].score(Measured(strip("1......."), strip("1.22.33.")))
    # Objects score 1; 1, 0, 0.
    assert PROTOCOLS["davis2017"].mean([one, three])["J"] == 2 / 4


def test_foreground_needs_no_matching():
    truth, labels = strip("112233.."), strip("999.....")
    assert values("foreground", labels, truth)["J"] == 3 / 6


def test_a_truth_without_objects_and_other_shapes_are_refused():
    with pytest.raises(DataError, match="without an object"):
        Measured(strip("11.."), strip("..##"))
    with pytest.raises(DataError, match="do not fit"):
        Measured(strip("11.."), strip("11..."))
    with pytest.raises(DataError, match=r"whole numbers .* float64"):
        Measured(strip("11..").astype(float), strip("11.."))


# --- clustering ---


@pytest.mark.parametrize("seed", range(5))
def test_the_rand_index_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, labels = blobs(rng, 3, 11, 13, 4), blobs(rng, 3, 11, 13, 5)
    truth[0] = 0
    video, frames = clustering.fg_ari(Measured(labels, truth))
    of_object = truth > 0
    assert video == pytest.approx(adjusted_rand_score(truth[of_object], labels[of_object]))
    assert frames[0] is None
    for t in (1, 2):
        expected = adjusted_rand_score(truth[t][of_object[t]], labels[t][of_object[t]])
        assert frames[t] == pytest.approx(expected)


def test_the_rand_index_ignores_the_ground_and_void_and_counts_the_unlabelled_as_one():
    truth, labels = strip("1122..##"), strip("..339988")
    assert values("fg-ari", labels, truth)["FG-ARI per video"] == 1
    assert values("fg-ari", strip("........"), truth)["FG-ARI per video"] == 0


def test_an_object_alone_has_a_rand_index_of_1_or_0():
    truth = strip("..1111")
    assert values("fg-ari", strip("333333"), truth)["FG-ARI per frame"] == 1
    assert values("fg-ari", strip("..3333"), truth)["FG-ARI per frame"] == 1
    assert values("fg-ari", strip("...333"), truth)["FG-ARI per frame"] == 0


def test_fg_ari_per_frame_does_not_see_swapped_ids_and_per_video_does():
    truth = strip("1122", "1122")
    swapped = strip("1122", "2211")
    assert values("fg-ari", swapped, truth)["FG-ARI per frame"] == 1
    assert values("fg-ari", swapped, truth)["FG-ARI per video"] < 0.5


def test_miou_leaves_out_frames_where_both_are_absent_and_mbo_takes_volumes():
    truth = strip("11..", "....", "11..")
    labels = strip("11..", "....", "1111")
    # Frames: 1, left out, 1/2. Volume: 4 shared of 6.
    assert values("miou", labels, truth) == {"mIoU": 3 / 4, "mBO": pytest.approx(4 / 6)}


# --- as others evaluate ---


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("proposals", "objects"), [(5, 2), (3, 3), (2, 4)])
def test_solvs_figures_are_those_of_its_loops(seed, proposals, objects):
    rng = np.random.default_rng(seed)
    truth, labels = blobs(rng, 3, 11, 13, objects), blobs(rng, 3, 11, 13, proposals)
    truth[0][truth[0] == 1] = 0
    if seed == 0:
        truth[1] = 0
    iou, frames = solv_plain.evaluate(labels, truth)
    m = Measured(labels, truth)
    assert clustering.video_miou(m).tolist() == pytest.approx(iou)
    assert clustering.matched_fg_ari(m) == pytest.approx(frames)
    scored = values("solv", labels, truth)
    assert scored["mIoU"] == pytest.approx(np.mean(iou))
    assert scored["FG-ARI of matched"] == pytest.approx(
        np.mean([x for x in frames if x is not None])
    )


def test_solvs_fg_ari_forgives_parts_that_have_no_match():
    truth, labels = strip("11111112"), strip("33344556")
    merged = adjusted_rand_score([1] * 7 + [2], [3] * 3 + [0] * 4 + [6])
    m = Measured(labels, truth)
    assert clustering.matched_fg_ari(m)[0] == pytest.approx(merged)
    assert merged > clustering.fg_ari(m)[1][0]


def test_solvs_means_are_over_objects_and_over_videos():
    one = PROTOCOLS["solv"].score(Measured(strip("11.."), strip("11..")))
    two = PROTOCOLS["solv"].score(Measured(strip("1....."), strip("1.2..3")))
    mean = PROTOCOLS["solv"].mean([one, two])
    assert mean["mIoU"] == pytest.approx((1 + 1 + 0 + 0) / 4)
    frame = adjusted_rand_score([1, 2, 3], [1, 0, 0])
    assert mean["FG-ARI of matched"] == pytest.approx((1 + frame) / 2)


@pytest.mark.parametrize(("h", "w"), [(17, 23), (7, 31)])
@pytest.mark.parametrize(("proposals", "objects"), [(1, 3), (4, 2), (3, 3)])
def test_the_released_evaluation_is_its_loops(h, w, proposals, objects):
    rng = np.random.default_rng(h * proposals)
    truth, labels = blobs(rng, 4, h, w, objects), blobs(rng, 4, h, w, proposals)
    truth[rng.random(truth.shape) < 0.05] = 255
    truth[0][truth[0] == objects] = 0  # the last object comes later and does not count
    scored = PROTOCOLS["davis2017-released"].score(Measured(labels, truth))["objects"]
    j, f = davis_plain.released(labels, truth)
    assert [o["id"] for o in scored] == list(range(1, objects))
    assert np.abs(np.array([o["J"] for o in scored]).T - j).max() <= LIKE_THE_TOOLKIT
    assert np.abs(np.array([o["F"] for o in scored]).T - f).max() <= LIKE_THE_TOOLKIT


def test_the_released_evaluation_counts_objects_in_frame_0_and_copies_the_last_mask():
    truth = strip("11....", "11.2..", "11.22.", "...22.")
    labels = strip("55....", "55....", "5.....", "55.66.")
    scored = PROTOCOLS["davis2017-released"].score(Measured(labels, truth))
    # Object 2 comes later: not scored. The last mask is that of the third frame again, where by
    # then no object is.
    (only,) = scored["objects"]
    assert only["J"] == [1, 1, 1 / 2, 0]
    whole = values("davis2017-per-frame", labels, truth)
    assert whole["J"] != scored["values"]["J"]


def test_the_released_evaluation_ends_where_its_code_ends():
    score = PROTOCOLS["davis2017-released"].score
    with pytest.raises(DataError, match="at least 2 frames"):
        score(Measured(strip("11"), strip("11")))
    with pytest.raises(DataError, match="counts the objects of frame 0: there are none"):
        score(Measured(strip("11", "11"), strip("..", "11")))
    truth = np.zeros((2, 1, 302), np.uint8)
    truth[..., 3] = 1
    labels = np.tile(np.arange(302, dtype=np.uint16), (2, 1, 1))
    with pytest.raises(DataError, match="301 proposals: the released evaluation ends above 300"):
        score(Measured(labels, truth))
    labels[0, 0, 301] = 0  # the 301st is in the dropped frame only
    score(Measured(labels, truth))


# --- detection ---


@pytest.mark.parametrize("seed", range(8))
def test_video_ap_is_that_of_slow_loops_and_of_cocos_evaluation(seed):
    rng = np.random.default_rng(seed)
    videos = []
    for _ in range(4):
        p, o = rng.integers(0, 15), rng.integers(1, 5)
        scores = rng.integers(0, 6, p) / 5  # with ties
        videos.append(detection.Detections(scores, rng.integers(0, 21, (p, o)) / 20))
    found = detection.average_precision(videos)
    slow = video_ap_slow.average_precision([(v.scores.tolist(), v.iou) for v in videos])
    assert found == pytest.approx(slow, abs=1e-12)
    coco = video_ap_coco.average_precision([(v.scores.tolist(), v.iou) for v in videos])
    assert found == pytest.approx(coco, abs=1e-12)


def test_video_ap_by_hand():
    truth = strip("11112222", "1111....")
    # Object 1 found whole (volume 1); object 2 half (2 of 4); a false one between them by score.
    labels = strip("111122.3", "1111...3")
    scored = values("video-ap", labels, truth, {1: 0.9, 2: 0.3, 3: 0.6})
    # IoU 0.5: precision 1 up to recall 0.5, then 2/3. From 0.55 on: one of two objects.
    at_half = (51 * 1 + 50 * 2 / 3) / 101
    assert scored["AP50"] == pytest.approx(at_half)
    assert scored["AP"] == pytest.approx((at_half + 9 * 51 / 101) / 10)
    assert scored["AR10"] == pytest.approx((1 + 9 * 0.5) / 10)


def test_ar10_looks_at_ten_proposals_only():
    iou = np.zeros((12, 1))
    iou[11] = 1
    video = detection.Detections(np.linspace(1, 0, 12), iou)
    ap50, _, ar10 = detection.average_precision([video])
    assert ap50 == pytest.approx(1 / 12) and ar10 == 0


# --- steadiness ---


def test_a_lost_object_that_is_found_under_its_id_is_no_switch():
    truth = strip("11..", "11..", "11..", "11..")
    labels = strip("55..", "....", "55..", "66..")
    assert values("steadiness", labels, truth)["id switches"] == 1
    assert values("steadiness", labels, truth)["proposals"] == 2


def test_flicker_is_the_mean_change_of_f():
    f = np.array([[1.0, 0.5], [0.8, 0.5], [1.0, 0.1]])
    present = np.array([[True, True], [True, True], [True, False]])
    # Changes 0.2, 0.2 of the first; 0 of the second, whose last frame does not count.
    assert steadiness.flicker(f, present) == pytest.approx((0.2 + 0.2 + 0) / 3)
    assert steadiness.flicker(f[:1], present[:1]) is None


# --- properties ---


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_names_of_labels_do_not_matter(name):
    rng = np.random.default_rng(3)
    truth, labels = blobs(rng, 4, 23, 19, 3), blobs(rng, 4, 23, 19, 4)
    truth[:, 0, 0] = 255
    scores = {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2}
    before = values(name, labels, truth, scores)
    to = np.array([0, 9, 300, 2, 40000], np.uint16)
    renamed = {int(to[i]): s for i, s in scores.items()}
    assert values(name, to[labels], truth, renamed) == pytest.approx(before, abs=1e-12)
    again = np.where(truth == 255, 255, (4 - truth) % 4 + 10 * (truth > 0)).astype(np.uint8)
    assert values(name, labels, again, scores) == pytest.approx(before, abs=1e-12)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_nothing_predicted_is_scored_and_says_so(name):
    truth = strip("11..22", "11..22", "11..22")
    scored = values(name, np.zeros_like(truth), truth)
    assert set(scored) == set(PROTOCOLS[name].columns)
    if name == "videosaur":  # there it is one cluster that holds everything, 6 of 18 px an object
        assert scored.pop("mBO") == scored.pop("image mBO") == pytest.approx(1 / 3)
    assert all(v == 0 for v in scored.values() if v is not None)
    json.dumps(PROTOCOLS[name].score(Measured(np.zeros_like(truth), truth)))


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_the_mean_of_one_sequence_is_its_values(name):
    rng = np.random.default_rng(5)
    record = PROTOCOLS[name].score(Measured(blobs(rng, 4, 9, 11, 3), blobs(rng, 4, 9, 11, 2)))
    record = json.loads(json.dumps(record))
    assert PROTOCOLS[name].mean([record]) == pytest.approx(record["values"])
    assert PROTOCOLS[name].mean([]) == {}
