"""Foreground and single objects on the graph of groups: slow references, and planted scenes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import ndimage

from test_cluster_fast import KINDS, group, iou, scene
from unveil.fast import foreground as objectness
from unveil.fast import prototypes
from unveil.fast.contacts import (
    STRANGE,
    chained,
    contacts,
    neighbours,
    next_neighbours,
    scaled_keys,
)
from unveil.fast.describe import describe, find
from unveil.fast.groups import Groups, join
from unveil.fast.instances import (
    APART,
    FOREIGN,
    SURELY,
    TOGETHER,
    _gaps,
    contract,
    evidence,
    instances,
    reunite,
    tracks,
)
from unveil.fast.state import INSIDE


def graph(labels: np.ndarray, kinds: list[int] | None = None, block: int = 1) -> Groups:
    """Groups of their own for every label of every block; kinds: what each label looks like."""
    ids, names = np.zeros(labels.shape, np.int32), []
    for start in range(0, len(labels), block):
        part = labels[start : start + block]
        for name in np.unique(part):
            ids[start : start + block][part == name] = len(names)
            names.append((name, start // block))
    of, blocks = (torch.tensor(x) for x in zip(*names, strict=True))
    look = of if kinds is None else torch.tensor(kinds)[of]
    counts = torch.from_numpy(np.bincount(ids.ravel())).float()
    ones = torch.ones(len(names))
    return Groups(ids, KINDS[look], counts, ones, ones, ones, ones, blocks, 0 * blocks)


def test_contacts_equal_a_count_by_hand():
    ids = np.random.default_rng(0).integers(0, 7, (131, 3, 5)).astype(np.int32)
    keys = torch.randn(7, 11, generator=torch.Generator().manual_seed(1))
    counts = torch.from_numpy(np.bincount(ids.ravel())).float()
    groups = Groups(ids, keys, counts, *torch.ones(4, 7), *torch.zeros(2, 7).long())
    got = contacts(groups, softness=0.25)
    mean = (keys * counts[:, None]).sum(0) / counts.sum()
    spread = ((keys - mean).square().sum(1) * counts).sum() / counts.sum()
    space, time = np.zeros((7, 7)), np.zeros((7, 7))
    for t, y, x in np.ndindex(ids.shape):
        a = ids[t, y, x]
        for expected, (u, v, w) in ((space, (0, 1, 0)), (space, (0, 0, 1)), (time, (1, 0, 0))):
            if t + u < 131 and y + v < 3 and x + w < 5 and (b := ids[t + u, y + v, x + w]) != a:
                likeness = np.exp(-(keys[a] - keys[b]).square().sum() / (2 * 0.25 * spread))
                if likeness >= STRANGE:
                    expected[[a, b], [b, a]] += float(likeness)
    assert (space > 0).any() and (space == 0).sum() > 7
    np.testing.assert_allclose(got.space.toarray(), space, rtol=1e-4)
    np.testing.assert_allclose(got.time.toarray(), time, rtol=1e-4)


@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_contacts_known_block_by_block_are_those_of_the_whole(dropped):
    """As a stream has them, whose oldest blocks are forgotten."""
    rng, blocks, near = np.random.default_rng(3), [], []
    for i, (t, g) in enumerate(((3, 5), (3, 7), (2, 1), (3, 4), (1, 5))):
        ids = np.append(np.arange(g), rng.integers(0, g, t * 35 - g)).astype(np.int32)
        keys = torch.randn(g, 11, generator=torch.Generator().manual_seed(i)).half()
        counts = torch.from_numpy(np.bincount(ids)).float()
        ids = rng.permutation(ids).reshape(t, 5, 7)
        block, shot = torch.full((g,), i), torch.full((g,), i // 3)
        blocks.append(Groups(ids, keys, counts, *torch.ones(4, g), block, shot))
        near.append(next_neighbours(blocks[-1], blocks[-2] if i else None))
    blocks, near = blocks[dropped:], near[dropped:]
    whole, known = join(blocks), chained(near, blocks)
    for got, expected in zip(
        (known.space, known.time), vars(neighbours(whole)).values(), strict=True
    ):
        a, b = ((x.a, x.b) for x in (got, expected))
        order = [np.lexsort(x) for x in (a, b)]
        for name in ("a", "b", "pairs", "apart"):
            np.testing.assert_array_equal(
                getattr(got, name)[order[0]], getattr(expected, name)[order[1]]
            )
    one, other = contacts(whole, 2.0), contacts(whole, 2.0, known)
    assert one.all.nnz > 7 and abs(one.all - other.all).max() == 0


def test_what_drives_is_told_from_what_is_parked():
    """Three things of one look on a ground: one moves, one does not, of one nothing is known."""
    labels = np.zeros((8, 6, 24), int)
    labels[:, 2:5, 2:6], labels[:, 2:5, 9:13], labels[:, 2:5, 16:20] = 1, 2, 3
    groups = graph(labels, [0, 1, 1, 1], 8)
    moves, known = torch.tensor([-2.0, 3, -3, 0]), torch.tensor([120.0, 12, 12, 0])
    groups = replace(groups, saliency=torch.tensor([0.5, 2, 2, 2]), border=torch.zeros(4))
    groups = replace(groups, motion=moves, measured=known)
    summary = prototypes.summarise(groups)
    seen = prototypes.Attention(groups.keys, summary)
    ground, driven, parked, unknown = objectness.objectness(groups, seen, summary.member)
    assert driven > 2 * unknown > 4 * parked > 4 * ground
    still = replace(groups, motion=torch.zeros(4), measured=torch.zeros(4))
    score = objectness.objectness(still, seen, summary.member)
    assert score[0] < 1 < score[1] == score[2] == score[3]
    assert (score * groups.counts.numpy()).sum() == pytest.approx(labels.size)


def test_the_random_walker_solves_its_equations():
    rng = np.random.default_rng(2)
    n = 31
    weights = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.2), 1)
    weights += weights.T
    score, mass = rng.gamma(1.0, 1.0, n) * 2, rng.integers(1, 20, n).astype(float)
    got = objectness.foreground(score, mass, sp.csr_array(weights))
    opinion = np.log(np.maximum(score, 1e-3) / objectness.level(score, mass))
    firm = np.diag(0.6 * mass * np.tanh(np.abs(opinion) / 0.55) + 1e-6)
    laplacian = np.diag(weights.sum(1)) - weights
    expected = np.linalg.solve(laplacian + firm, firm @ (opinion > 0))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert got.min() >= 0 and got.max() <= 1


def test_what_has_no_opinion_goes_with_what_it_holds_to():
    """Five groups in a row: an object, three at the level, background; one weak contact."""
    level = objectness.LEVEL
    score, mass = np.array([2 * level, level, level, level, 0.1]), np.full(5, 10.0)
    for weak in range(1, 5):
        between = np.full(4, 10.0)
        between[weak - 1] = 0.1
        p = objectness.foreground(
            score, mass, sp.csr_array(sp.diags_array([between] * 2, offsets=[1, -1]))
        )
        assert ((p > 0.5) == (np.arange(5) < weak)).all()


def test_a_video_in_which_nothing_stands_out_is_all_object():
    p = objectness.foreground(np.ones(4), np.ones(4), sp.csr_array(np.ones((4, 4)) - np.eye(4)))
    assert (p > 0.5).all()


def slow_contract(edges: dict[tuple[int, int], float]) -> set[frozenset[int]]:
    """Greedy additive edge contraction with all sums taken anew each time."""
    parts = [{i} for i in {i for pair in edges for i in pair}]

    def between(a, b):
        return sum(edges.get((min(i, j), max(i, j)), 0.0) for i in a for j in b)

    while len(parts) > 1:
        best = max(itertools.combinations(parts, 2), key=lambda pair: between(*pair))
        if between(*best) <= 0:
            break
        parts = [p for p in parts if p not in best] + [best[0] | best[1]]
    return {frozenset(p) for p in parts}


@pytest.mark.parametrize("seed", range(7))
def test_contraction_equals_the_slow_one(seed):
    rng = np.random.default_rng(seed)
    pairs = [p for p in itertools.combinations(range(13), 2) if rng.random() < 0.5]
    edges = {p: float(rng.normal()) for p in pairs}
    into = contract((a, b, w) for (a, b), w in edges.items())
    got = {}
    for node, root in into.items():
        got.setdefault(root, set()).add(node)
    assert {frozenset(p) for p in got.values()} == slow_contract(edges)


def test_tracks_follow_a_thing_from_block_to_block():
    labels = np.zeros((4, 3, 9), int)
    for t in range(4):
        labels[t, 1, t : t + 3] = 1
    groups = graph(labels)
    inside = np.array([False, True] * 4)
    track = tracks(groups, inside, contacts(groups).time)
    assert track[inside].tolist() == [1, 1, 1, 1]


def slow_gaps(track: np.ndarray, share: np.ndarray) -> dict[tuple[int, int], float]:
    """Frame by frame and pair by pair."""
    said: dict[tuple[int, int], float] = {}
    for names, of in zip(track, share, strict=True):
        there = of > INSIDE
        part, k = ndimage.label(of > SURELY, np.ones((3, 3)))
        size = np.bincount(part[there], minlength=k + 1)
        for a, b in itertools.combinations(np.unique(names[there]).tolist(), 2):
            for i, j in itertools.permutations(range(1, k + 1), 2):
                shares = [((part == p) & there & (names == n)).sum() for n, p in ((a, i), (b, j))]
                if all(shares):
                    w = np.prod(shares) / (size[i] * size[j]) * APART * min(size[i], size[j])
                    w /= min(of.shape) / 24  # patches of the default size along a side
                    said[a, b] = said.get((a, b), 0.0) + w
    return said


@pytest.mark.parametrize("some", [0.0, 0.1, 0.3, 1.0])
def test_gaps_of_many_frames_equal_those_looked_at_one_by_one(some):
    rng = np.random.default_rng(5)
    track, share = rng.integers(0, 7, (5, 11, 13)), rng.random((5, 11, 13)) * SURELY
    share[rng.random(share.shape) < some] = 0.8
    share[rng.random(share.shape) < 0.1] = 0.3  # of an object, or not
    share[2] = 0  # a frame of background
    a, b, w = _gaps(track, share)
    found: dict[tuple[int, int], float] = {}
    for i, j, x in zip(a.tolist(), b.tolist(), w.tolist(), strict=True):
        found[i, j] = found.get((i, j), 0.0) + x
    assert found == {pair: pytest.approx(x) for pair, x in slow_gaps(track, share).items()}


def test_a_gap_says_as_much_against_as_contacts_for_on_a_finer_grid():
    def said(finer):
        track = np.zeros((1, 24, 30), int)
        track[..., 10:] = 1
        share = np.ones(track.shape)
        share[..., 10] = 0
        track, share = (x.repeat(finer, 1).repeat(finer, 2) for x in (track, share))
        return _gaps(track, share)[2].item()

    assert said(1) == pytest.approx(APART * 24 * 10)
    assert said(2) == pytest.approx(2 * said(1))  # and twice as many patches touch along a side


def test_a_gap_speaks_against_and_contact_for():
    labels = np.zeros((2, 3, 9), int)
    labels[:, 1, :2], labels[0, 1, 5:7], labels[1, 1, 2:4] = 1, 2, 2
    groups = graph(labels, [0, 1, 1], block=2)
    share = np.array([0.0, 1.0, 1.0])
    found = list(evidence(groups.ids, share, np.arange(3), contacts(groups).all))
    assert found == [(1, 2, pytest.approx(1 - APART * 2 / (3 / 24)))]
    share[0] = 2 * SURELY  # nobody knows whether it is of them
    found = list(evidence(groups.ids, share, np.arange(3), contacts(groups).all))
    assert found == [(1, 2, pytest.approx(1))]


def two_that_look_alike(t: int = 24) -> np.ndarray:
    """Two things of one look: apart at first, side by side in the last third."""
    labels = np.zeros((t, 9, 19), int)
    for i in range(t):
        x = max(9, 14 - i // 3)
        labels[i, 3:6, 5:9], labels[i, 3:6, x : x + 4] = 1, 2
    return labels


def test_two_that_look_alike_are_two():
    labels = two_that_look_alike()
    groups = graph(labels, [0, 1, 1], block=8)
    inside = (groups.keys == KINDS[1]).all(1).numpy()
    label = instances(groups, inside, contacts(groups))
    assert set(label[~inside]) == {-1} and set(label[inside]) == {0, 1}
    for k in (1, 2):
        assert len(np.unique(label[groups.ids][labels == k])) == 1


def test_what_left_and_returned_is_one():
    labels = two_that_look_alike()
    labels[8:16][labels[8:16] == 2] = 0
    groups = graph(labels, [0, 1, 2], block=8)
    inside = ~(groups.keys == KINDS[0]).all(1).numpy()
    label = instances(groups, inside, contacts(groups))
    assert [len(np.unique(label[groups.ids][labels == k])) for k in (1, 2)] == [1, 1]
    assert set(label[inside]) == {0, 1}


def test_objects_of_one_look_get_their_own_ids_from_features():
    labels = two_that_look_alike()
    kinds = np.minimum(labels, 1)
    found = find(describe(group(scene(kinds), 8)))
    assert len(found.scores) == 2
    for k in (1, 2):
        apart = labels[:12]
        id = np.bincount(found.ids[:12][apart == k]).argmax()
        assert iou(found.ids[:12] == id, apart == k) > 0.85


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.08])
@pytest.mark.parametrize("seed", range(4))
def test_two_of_one_prototype_keep_their_own_ids(noise, seed):
    """Each of the two is one part of the same prototype: the least that two objects can differ."""
    labels = np.zeros((16, 12, 20), int)
    labels[:, 3:8, 2:7], labels[:, 3:8, 12:17] = 1, 2
    noisy = scene(np.minimum(labels, 1), seed)
    exact = KINDS[torch.from_numpy(np.minimum(labels, 1))]
    keys = exact + noise * (noisy.keys - exact) / 0.08
    found = find(describe(group(replace(noisy, keys=keys), 8), prototypes=2, seed=seed))
    one, two = (np.bincount(found.ids[labels == k]).argmax() for k in (1, 2))
    assert {one, two} == {1, 2}


def slow_reunite(groups: Groups, label: np.ndarray) -> np.ndarray:
    """All pairs looked at again for every two that become one."""
    names = np.unique(label[label >= 0])
    label = np.where(label >= 0, np.searchsorted(names, label), -1)
    keys, counts = scaled_keys(groups)[:], groups.counts.numpy()
    while True:
        look, seen = {}, {}
        for k in np.unique(label[label >= 0]):
            look[k] = np.average(keys[label == k], axis=0, weights=counts[label == k])
            seen[k] = (label[groups.ids] == k).sum((1, 2))
        best, pair = FOREIGN, None
        for b, a in itertools.combinations(look, 2):
            together = np.minimum(seen[a], seen[b]).sum()
            alike = np.exp(-np.square(look[a] - look[b]).sum())
            if together < TOGETHER * min(seen[a].sum(), seen[b].sum()) and alike > best:
                best, pair = alike, (a, b)
        if pair is None:
            return label
        label = np.where(label == pair[0], pair[1], label)


def coming_and_going(objects: int, frames: int, looks: int, seed: int = 0) -> tuple:
    """Groups of things that are there for some blocks each, and what each group is of."""
    rng = np.random.default_rng(seed)
    ids, names, keys = np.zeros((frames, 6, objects), np.int32), [-1], [np.zeros(11)]
    kinds = rng.normal(size=(looks, 11))
    for k in range(objects):
        start = rng.integers(0, frames)
        stop = start + rng.integers(1, 9)
        ids[start:stop, 1 : rng.integers(2, 6), k] = len(names)
        names.append(k)
        keys.append(kinds[k % looks] + 0.15 * rng.normal(size=11))
    counts = torch.from_numpy(np.bincount(ids.ravel(), minlength=len(names))).float()
    ones = torch.ones(len(names))
    keys = torch.from_numpy(np.array(keys)).float()
    block = ones.long()
    return Groups(ids, keys, counts, ones, ones, ones, ones, block, 0 * block), np.array(names)


@pytest.mark.parametrize("seed", range(7))
def test_reuniting_equals_the_slow_one(seed):
    groups, label = coming_and_going(23, 31, 3 + seed % 3, seed)
    got = reunite(groups, label)
    assert np.array_equal(got, slow_reunite(groups, label))
    assert 1 < len(np.unique(got[got >= 0])) < 23


def test_no_foreground_at_all_is_no_object():
    groups = graph(np.zeros((3, 2, 2), int))
    assert (instances(groups, np.zeros(3, bool), contacts(groups)) == -1).all()
