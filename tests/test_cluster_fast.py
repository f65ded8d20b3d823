"""The default clustering: independent of chunks, ids that last, cuts without recomputing."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from unveil.attention.objects_head import ObjectsHead
from unveil.errors import DataError, InputError
from unveil.fast import describe as fast_describe
from unveil.fast import kmeans, prototypes, tree
from unveil.fast import parts as cluster_parts
from unveil.fast.describe import describe, find
from unveil.fast.directions import main_directions
from unveil.fast.groups import Grouper, Groups, group_block
from unveil.fast.kmeans import weighted_sums
from unveil.fast.state import State
from unveil.features.backbone import Backbone
from unveil.segmentation.first_pass import cut
from unveil.segmentation.refine import nearest
from unveil.synthetic.render import render
from unveil.types import Features

C = 16
KINDS = torch.linalg.qr(torch.randn(C, C, generator=torch.Generator().manual_seed(3))).Q
"""Mean keys of what the planted scenes show: 0 background, 1 and up objects."""


def scene(labels: np.ndarray, seed: int = 0) -> Features:
    """Features of planted labels [T, h, w]: noisy keys, objects more salient than background."""
    g = torch.Generator().manual_seed(seed)
    of = torch.from_numpy(labels).long()
    keys = KINDS[of] + 0.08 * torch.randn(*of.shape, C, generator=g)
    saliency = (of > 0) * 2.0 + 0.5 + 0.2 * torch.rand(of.shape, generator=g)
    return Features(keys, 14, saliency)


def moving(t: int = 21, h: int = 11, w: int = 17) -> np.ndarray:
    """Two objects that cross the frame: 1 rightwards, 2 leftwards, gone in frames 8 to 12."""
    labels = np.zeros((t, h, w), int)
    for i in range(t):
        x = 1 + i % (w - 5)
        labels[i, 2:5, x : x + 3] = 1
        if not 8 <= i < 13:
            labels[i, 7:10, w - 4 - x : w - 1 - x] = 2
    return labels


def group(features: Features, chunk: int, head: torch.nn.Module | None = None) -> Groups:
    grouper = Grouper(head)
    for i in range(0, len(features.keys), chunk):
        part = slice(i, i + chunk)
        grouper.add(Features(features.keys[part], 14, features.saliency[part]))
    return grouper.finish()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = len(np.unique(np.stack((a.ravel(), b.ravel())), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


def test_objects_keep_their_ids_across_blocks_and_after_an_absence():
    labels = moving()
    found = find(describe(group(scene(labels), 5)), objects=2)
    assert sorted(found.scores) == [1, 2]
    of = {k: np.bincount(found.ids[labels == k]).argmax() for k in (1, 2)}
    assert set(of.values()) == {1, 2}
    for k, id in of.items():
        assert iou(found.ids == id, labels == k) > 0.85


@pytest.mark.parametrize("chunk", [1, 7, 8, 16])
def test_the_result_does_not_depend_on_the_chunks(chunk):
    features = scene(moving())
    whole = group(features, len(features.keys))
    chunked = group(features, chunk)
    assert np.array_equal(whole.ids, chunked.ids)
    assert torch.equal(whole.keys, chunked.keys)
    a, b = describe(whole), describe(chunked)
    assert np.array_equal(a.groups, b.groups) and np.array_equal(a.tree, b.tree)
    assert np.array_equal(a.share, b.share) and np.array_equal(a.leaf, b.leaf)


def test_what_appears_late_is_found():
    labels = np.zeros((27, 9, 13), int)
    labels[23:, 3:6, 4:8] = 3
    found = find(describe(group(scene(labels), 4)))
    assert iou(found.ids == 1, labels > 0) > 0.85
    assert (found.ids[labels == 0] > 0).mean() < 0.01


def test_the_tree_is_average_linkage():
    points = np.random.default_rng(1).random((23, 4))
    d = np.abs(points[:, None] - points).sum(2)
    expected = linkage(squareform(d), "average")
    got = tree.link(d, np.ones(23))
    np.testing.assert_allclose(got[:, 2], expected[:, 2], atol=1e-6)
    np.testing.assert_array_equal(got[:, [0, 1, 3]], expected[:, [0, 1, 3]])


def test_rows_over_weighted_prototypes_equal_rows_over_all_keys():
    keys = KINDS[:3].repeat_interleave(torch.tensor([2, 5, 4]), 0)
    groups = Groups(np.zeros((1, 1, 1), int), keys, *torch.ones(5, 11), *torch.zeros(2, 11).long())
    summary = prototypes.summarise(groups)
    unit = torch.nn.functional.normalize(keys - keys.mean(0), dim=1)
    full = (unit @ unit.T / 0.1).softmax(1)
    onto = torch.zeros(11, len(summary.mass)).scatter_(1, summary.member[:, None], 1.0)
    torch.testing.assert_close(prototypes.rows(keys, summary), full @ onto, atol=1e-5, rtol=1e-4)


def test_what_works_in_pieces_equals_what_works_at_once(monkeypatch):
    groups = group(scene(moving(9)), 4)
    summary = prototypes.summarise(groups, 20)
    values = torch.rand(len(summary.mass), 3, generator=torch.Generator().manual_seed(0))
    whole = prototypes.rows(groups.keys, summary) @ values
    monkeypatch.setattr(kmeans, "PIECE", 7)
    assert len(groups) % 7
    seen = prototypes.Attention(groups.keys, summary)
    torch.testing.assert_close(seen(values), whole)
    monkeypatch.setattr(prototypes, "HELD", 0)
    anew = prototypes.Attention(groups.keys, summary)
    assert seen._rows is not None and anew._rows is None
    for some in (values, values[:, 1:]):  # to the bit, whether rows were kept or not
        assert torch.equal(seen(some), anew(some))
    again = prototypes.summarise(groups, 20)
    assert torch.equal(again.member, summary.member)
    torch.testing.assert_close(again.keys, summary.keys)


class Kind1(ObjectsHead):
    """A head to which what looks like kind 1 is an object."""

    def __init__(self) -> None:
        super().__init__(C, width=12, heads=2)

    def forward(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        like = keys @ KINDS[1]
        return 8 * like - 4, like[..., None]


def test_a_head_tells_what_stands_still_fills_the_frame_and_is_not_salient():
    wide = np.ones((9, 11, 17), int)
    wide[:, 4:8, 5:12] = 0
    features = scene(wide)
    features = replace(features, saliency=torch.ones_like(features.saliency))
    groups = group(features, 4, Kind1())
    found = find(describe(groups))
    assert np.array_equal(found.ids, wide) and len(found.scores) == 1
    torch.testing.assert_close(groups.objectness, group(features, 9, Kind1()).objectness)
    assert not np.array_equal(find(describe(group(features, 4))).ids, wide), "without it, no"


def test_a_head_parts_groups_that_look_the_same():
    keys, apart = torch.ones(8, 4, 6, 5), torch.zeros(8, 4, 6, 2)
    keys[..., 0] += 1e-3 * torch.randn(8, 4, 6, generator=torch.Generator().manual_seed(0))
    apart[:, :, 3:, 0] = 3.0
    labels = group_block(keys, 2, place=0.0, beside=apart).reshape(8, 4, 6)
    assert len(labels.unique()) == 2 and (labels[:, :, :3] != labels[0, 0, 3]).all()
    assert len(labels[:, :, 3:].unique()) == 1


@pytest.mark.parametrize(("h", "w", "most"), [(8, 12, 6), (24, 30, 6), (48, 60, 24), (60, 36, 14)])
def test_a_finer_grid_has_groups_in_proportion(h, w, most):
    keys = torch.randn(2, h, w, 5, generator=torch.Generator().manual_seed(0))
    grouper = Grouper(groups=6)
    grouper.add(Features(keys, 14))
    groups = grouper.finish()
    assert most / 2 < len(groups) <= most
    assert groups.grain == min(h, w) / 24


def test_main_directions_hold_nearly_what_the_best_do():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(500, 90, generator=generator) / torch.arange(1, 91)
    points = points @ torch.linalg.qr(torch.randn(90, 90, generator=generator))[0]
    some, best = main_directions(points, 8), torch.linalg.svd(points)[2][:8].T
    torch.testing.assert_close(some.T @ some, torch.eye(8), rtol=0, atol=1e-5)
    held, most = ((points @ x).square().sum() for x in (some, best))
    assert 0.95 * most < held <= most
    assert main_directions(points, 8).equal(some)
    assert main_directions(points, 90).equal(torch.eye(90))


def test_few_directions_make_groups_that_are_as_tight(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    keys = scene(moving(8)).keys
    wide = torch.randn(keys.shape[-1], 200, generator=generator)
    keys = keys @ wide + torch.randn(*keys.shape[:-1], 200, generator=generator)

    def scatter() -> torch.Tensor:
        labels = group_block(keys, 64)
        flat, ones = keys.flatten(0, 2), torch.ones(len(labels))
        counts = torch.bincount(labels, minlength=64).clamp_min(1)
        means = weighted_sums(flat, labels, ones, 64) / counts[:, None]
        return (flat - means[labels]).square().sum()

    few = scatter()
    monkeypatch.setattr("unveil.fast.groups.main_directions", lambda points: torch.eye(200))
    torch.testing.assert_close(few, scatter(), rtol=0.01, atol=0)


@pytest.fixture(scope="module")
def state() -> State:
    """Of a video of several objects, of which some have parts."""
    return describe(group(scene(moving()), 21))


def test_a_number_of_objects_keeps_the_best_and_drops_the_rest(state):
    whole = find(state)
    k = len(whole.scores)
    assert k > 1 and list(whole.scores) == list(range(1, k + 1))
    assert list(whole.scores.values()) == sorted(whole.scores.values(), reverse=True)
    for n in range(1, k + 1):
        some = find(state, objects=n)
        assert some.scores == {i: whole.scores[i] for i in range(1, n + 1)}
        np.testing.assert_array_equal(some.ids, np.where(whole.ids <= n, whole.ids, 0))
    everything = find(state, keep_background=True)
    assert everything.scores.items() >= whole.scores.items()
    some = find(state, objects=k + 1, keep_background=True)
    assert list(some.scores) == list(range(1, k + 2))


def test_more_objects_than_there_are_part_those_there_are(state):
    before = find(state)
    front, k = before.ids > 0, len(before.scores)
    for n in range(k + 1, k + 4):
        ids = find(state, objects=n).ids
        np.testing.assert_array_equal(ids > 0, front)
        assert len(np.unique(ids[front])) <= n
        pairs = np.unique(np.stack((before.ids.ravel(), ids.ravel())), axis=1)
        assert len(pairs.T) == len(np.unique(ids))


def test_an_object_has_one_id_in_every_cut(state):
    wishes = [{"granularity": g} for g in (0.0, 0.3, 0.5, 0.6, 0.8, 1.0)]
    wishes += [{"objects": n} for n in (1, 2, 9)] + [{}, {"keep_background": True}]
    known: dict[bytes, int] = {}
    for wish in wishes:
        found = find(state, **wish)
        assert set(np.unique(found.ids)) - {0} == set(found.scores)
        for id in found.scores:
            assert known.setdefault((found.ids == id).tobytes(), id) == id
    whole, parted = find(state), find(state, granularity=1.0)
    assert len(parted.scores) > len(whole.scores)
    once = find(state, objects=len(whole.scores) + 1)
    (new,) = set(once.scores) - set(whole.scores)
    (old,) = np.unique(whole.ids[once.ids == new])
    assert (once.ids == old).sum() >= (once.ids == new).sum()  # the larger side keeps the id
    assert list(find(state, granularity=0.0).scores) == [1]


def test_a_cut_is_looked_up_some_frames_at_a_time(state):
    for wishes in ({}, {"granularity": 1.0}, {"keep_background": True}):
        found, whole = cut(state, **wishes), find(state, **wishes)
        assert found.scores == whole.scores
        for lazy, array in ((found.ids, whole.near), (found.share, whole.share)):
            assert len(lazy) == len(array) and lazy.shape == array.shape
            for frames in (slice(None), slice(1, 3), -1):
                assert lazy[frames].dtype == array.dtype
                np.testing.assert_array_equal(lazy[frames], array[frames])


def test_a_least_score_drops_objects_that_are_less_sure(state):
    scores = find(state, granularity=1.0).scores
    least = sorted(scores.values())[len(scores) // 2]
    found = find(state, granularity=1.0, min_score=least)
    assert found.scores == {i: s for i, s in scores.items() if s >= least}
    assert set(np.unique(found.ids)) - {0} == set(found.scores)


def test_the_sides_of_a_part_are_named_from_the_top_down():
    places = np.array([0.0, 1.0, 5.0, 5.5, 90.0])[:, None]
    mass = np.array([1.0, 2.0, 9.0, 8.0, 4.0])
    links = tree.link(np.abs(places - places.T), mass)
    rank = np.array([1, 1, 1, 1, 0])
    assert tree.seniority(links, mass, rank).tolist() == [3, 2, 1, 4, 0]


def test_a_video_of_many_objects_shows_the_best(state, monkeypatch):
    monkeypatch.setattr(fast_describe, "MAX_OBJECTS", 1)
    assert list(find(state).scores) == [1]
    assert len(find(state, objects=2).scores) == 2


def test_a_saved_state_is_cut_anew_like_a_kept_one(tmp_path):
    state = describe(group(scene(moving()), 21))
    state.save(tmp_path / "state.npz")
    loaded = State.load(tmp_path / "state.npz")
    for wish in ({}, {"objects": 3}, {"granularity": 0.6}, {"keep_background": True}):
        a, b = find(state, **wish), find(loaded, **wish)
        assert np.array_equal(a.ids, b.ids) and a.scores == b.scores
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"broken\.npz"):
        State.load(tmp_path / "broken.npz")
    with pytest.raises(DataError, match=r"no .*absent"):
        State.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "wish", [{"objects": 3}, {"granularity": 0.9}, {"objects": 4, "keep": True}]
)
def test_scores_are_as_counted_patch_by_patch(wish):
    labels = moving()
    labels[9:14] = 0  # all are gone for a while
    state = describe(group(scene(labels), 21))
    found = find(state, wish.get("objects"), wish.get("granularity"), wish.get("keep", False))
    likely = state.share[state.groups]
    for id, score in found.scores.items():
        mine = found.ids == id
        wanted = likely[mine].mean() * np.sqrt(mine.any((1, 2)).mean())
        assert score == pytest.approx(wanted, abs=1e-4)


def test_scores_of_long_videos_are_counted_in_stretches():
    rng = np.random.default_rng(0)
    state = describe(group(scene(moving()), 21))
    count = len(state.share)
    groups = rng.integers(0, count, (300, 4, 5))  # of more than two stretches
    groups = np.sort(groups.reshape(300, -1) // 2, 1)
    long = replace(state, groups=groups.reshape(300, 4, 5))
    piece = rng.integers(0, 4, len(state.mass))
    of_patch = piece[long.part][long.groups]
    likely = long.share[long.groups]
    for id, score in enumerate(long.scores(piece), 1):
        mine = of_patch == id
        wanted = likely[mine].mean() * np.sqrt(mine.any((1, 2)).mean()) if mine.any() else -1
        assert score == pytest.approx(wanted, abs=1e-4)


def test_background_is_zero_unless_asked_for():
    labels = moving()
    state = describe(group(scene(labels), 21))
    assert (find(state).ids[labels == 0] == 0).mean() > 0.97
    assert (find(state, keep_background=True).ids > 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (2, 1, 3), (9, 3, 1)])
def test_tiny_videos_have_an_answer(shape):
    features = scene(np.zeros(shape, int))
    found = find(describe(group(features, 2)))
    assert found.ids.shape == shape
    assert set(np.unique(found.ids)) - {0} <= set(found.scores)


@pytest.mark.parametrize("seed", [0, 5])
def test_an_occluded_object_of_the_synthetic_benchmark_keeps_its_id(default_backbone, seed):
    clip = render(seed=seed, frames=24, objects=2, scenario="occlusion")
    grouper, backbone = Grouper(), Backbone(default_backbone)
    for i in range(0, 24, 7):
        part = clip.frames[i : i + 7]
        grouper.add(backbone.encode(part, 224), part)
    found = find(describe(grouper.finish()))
    labels = nearest(found.ids, *clip.labels.shape[1:])
    assert iou(labels > 0, clip.labels > 0) > 0.85
    area = (clip.labels == 1).sum((1, 2))
    seen = np.flatnonzero(area > 0.95 * area.max())  # all of it
    assert np.ptp(seen) + 1 > len(seen) + 12, "it should be hidden in between"
    names = {np.bincount(labels[i][clip.labels[i] == 1]).argmax() for i in seen}
    other = {np.bincount(labels[i][clip.labels[i] == 2]).argmax() for i in seen}
    assert len(names) == 1 and len(other) == 1 and not names & other and 0 not in names


def test_wishes_that_make_no_sense_are_refused():
    state = describe(group(scene(moving(3)), 3))
    for wish in (
        {"objects": 0},
        {"granularity": 1.5},
        {"objects": 2, "granularity": 0.5},
        {"min_score": -0.1},
    ):
        with pytest.raises(InputError):
            find(state, **wish)
    with pytest.raises(InputError, match="no frames"):
        Grouper().finish()


def test_a_cut_into_pieces_makes_no_slivers_while_something_larger_is_left():
    places = np.array([0.0, 1.0, 5.0, 6.0, 11.0])[:, None]
    mass = np.array([40.0, 40.0, 40.0, 40.0, 5.0])
    links = tree.link(np.abs(places - places.T), mass)
    keep = np.ones(5, bool)
    assert tree.cut(links, keep, mass, 2).tolist() == [1, 1, 2, 2, 1]
    assert same_partition(tree.cut(links, keep, mass, 5), np.arange(5))
    heavy = np.full(5, 40.0)
    assert tree.cut(links, keep, heavy, 2).tolist() == [1, 1, 1, 1, 2]


def test_small_parts_fall_to_the_largest_of_their_object(monkeypatch):
    monkeypatch.setattr(cluster_parts, "MAX_PARTS", 3)
    object_ = np.array([0, 0, 0, 1, 1, -1])
    member = np.array([5, 6, 7, 5, 8, 5])
    counts = np.array([9.0, 50.0, 7.0, 3.0, 2.0, 99.0])
    part, of = cluster_parts.parts(object_, member, counts)
    assert of.tolist() == [[0, 6], [1, 5]]
    assert part.tolist() == [0, 0, 0, 1, 1, -1]


def test_heights_tell_parts_from_objects_and_objects_from_background():
    p = torch.rand(9, 9, generator=torch.Generator().manual_seed(4)).softmax(1)
    owner = np.array([0, 0, 0, 1, 1, 2, -1, -1, -1])
    d = cluster_parts.distances(p, owner)
    same, ground = owner[:, None] == owner, (owner[:, None] < 0) | (owner < 0)
    assert d[same].max() < 1 < d[~same & ~ground].min() <= d[~same & ~ground].max() < 2
    assert (d[~same & ground] == 3).all() and np.allclose(d, d.T)
    links = tree.link(d, np.ones(9))
    front = owner >= 0
    assert same_partition(tree.cut_below(links, front, 1.0)[front], owner[front])


def test_groups_outside_go_to_the_part_they_hold_to_most():
    touching = np.zeros((5, 5))
    for a, b, w in ((0, 2, 1.0), (1, 2, 4.0), (0, 3, 2.0)):
        touching[a, b] = touching[b, a] = w
    part = np.array([0, 1, -1, -1, -1])
    assert cluster_parts.spread(part, sp.csr_array(touching)).tolist() == [0, 1, 1, 0, -1]


def seen_in(frames: np.ndarray) -> int:
    """How many objects there are in frames that all have features of something salient."""
    labels = np.zeros((len(frames), 9, 13), int)
    labels[:, 3:6, 4:8] = 1
    grouper = Grouper()
    grouper.add(scene(labels), frames)
    state = describe(grouper.finish())
    assert find(state, keep_background=True).scores
    return len(find(state).scores)


def test_a_video_that_shows_nothing_has_no_object():
    t, height, width = 11, 93, 131
    for level in (0, 77, 255):
        assert seen_in(np.full((t, height, width, 3), level, np.uint8)) == 0
    y, x = np.mgrid[:height, :width]
    for slope in (0.2, 1.0, 1.9):
        ramp = np.clip(slope * x[..., None] + 0.3 * y[..., None], 0, 255)
        ramp = np.repeat(ramp[None] if slope < 1.5 else ramp[None] * 0.5, t, 0)
        assert seen_in(np.broadcast_to(ramp, (t, height, width, 3)).astype(np.uint8)) == 0
    vignette = 200 - 0.02 * ((x - 60) ** 2 + (y - 40) ** 2)
    assert seen_in(np.tile(vignette[None, ..., None], (t, 1, 1, 3)).astype(np.uint8)) == 0


def test_a_video_that_shows_anything_has_its_object():
    frames = np.full((11, 93, 131, 3), (200, 40, 40), np.uint8)
    frames[:, 31:62, 40:80] = (40, 200, 40)  # as bright, in another colour
    assert seen_in(frames) == 1
    faint = np.full((11, 93, 131, 3), 12, np.uint8)
    faint[:, 31:62, 40:80] = 20
    assert seen_in(faint) == 1
    faint[:4] = 0  # after a fade-in
    assert seen_in(faint) == 1
