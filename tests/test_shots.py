"""Shots: where they end, and what of a video they part."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from test_cluster_fast import KINDS, iou, scene
from unveil.errors import DataError
from unveil.fast import shots
from unveil.fast.arrays import save_arrays
from unveil.fast.contacts import contacts
from unveil.fast.describe import describe, find
from unveil.fast.groups import Grouper, Groups
from unveil.fast.instances import instances
from unveil.fast.state import State
from unveil.results.contact import ContactSheet
from unveil.segmentation.stream import Stream
from unveil.types import Features

GRID = (9, 13)
PARTS = ((11, 0), (13, 1), (10, 0))
"""Frames of each shot, and which scene it shows."""
BOUNDS = np.cumsum([0, *(t for t, _ in PARTS)])
TURNED = torch.linalg.qr(torch.randn(*2 * KINDS.shape[1:], generator=torch.manual_seed(3)))[0]


def pictures(t: int, scene: int, seed: int = 0) -> np.ndarray:
    """Frames of one scene, in colours of its own and never of one colour."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 40, (t, 36, 52, 3), np.uint8)
    frames[..., scene] += 200
    return frames


def cut_video() -> tuple[Features, np.ndarray, np.ndarray]:
    """Features, frames and planted objects: one scene, another that looks otherwise, the first."""
    labels = np.zeros((BOUNDS[-1], *GRID), int)
    labels[:, 3:6, 4:8] = 1
    labels[BOUNDS[1] : BOUNDS[2]] = np.roll(labels[BOUNDS[1] : BOUNDS[2]], 3, 2)
    features = scene(labels)
    features.keys[BOUNDS[1] : BOUNDS[2]] @= TURNED
    return features, np.concatenate([pictures(*part) for part in PARTS]), labels


def grouped(features: Features, frames: np.ndarray, chunk: int) -> Groups:
    grouper = Grouper()
    for i in range(0, len(frames), chunk):
        part = slice(i, i + chunk)
        some = Features(features.keys[part], 14, features.saliency[part])
        grouper.add(some, frames[part])
    return grouper.finish()


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 5, 8, 34])
def test_a_block_ends_where_a_shot_does_however_the_frames_came(chunk):
    features, frames, _ = cut_video()
    groups = grouped(features, frames, chunk)
    assert groups.shots.tolist() == BOUNDS[:-1].tolist()
    blocks = [np.unique(groups.block.numpy()[ids]).tolist() for ids in groups.ids]
    # Cuts at 11 and 24, and every eighth frame ends a block too.
    assert blocks == [[0]] * 8 + [[1]] * 3 + [[2]] * 5 + [[3]] * 8 + [[4]] * 8 + [[5]] * 2
    assert np.array_equal(groups.ids, grouped(features, frames, 34).ids)


def test_nothing_touches_across_a_cut():
    features, frames, _ = cut_video()
    groups = grouped(features, frames, 8)
    edges = contacts(groups, softness=9.0).all.tocoo()
    assert edges.nnz and (groups.shot[edges.row] == groups.shot[edges.col]).all()


def test_an_object_returns_under_its_id_and_another_has_its_own():
    features, frames, labels = cut_video()
    state = describe(grouped(features, frames, 8))
    ids = find(state).ids
    assert state.shots.tolist() == BOUNDS[:-1].tolist()
    assert iou(ids > 0, labels > 0) > 0.8
    first, other, again = (np.unique(ids[a:b][labels[a:b] > 0]) for a, b in pairwise(BOUNDS))
    assert len(first) == len(other) == 1
    assert first == again != other


def test_a_stream_says_where_a_shot_begins():
    features, frames, labels = cut_video()
    stream, first, ids = Stream(), [], []
    waits = stream.add(features, frames)
    for labelled in (*waits, *stream.flush()):
        if labelled.begins:
            first.append(sum(map(len, ids)))
        ids.append(labelled.ids)
    assert first == BOUNDS[:-1].tolist()
    ids = np.concatenate(ids)
    names = [np.bincount(ids[i][labels[i] > 0]).argmax() for i in (5, 15, 30)]
    assert names[0] == names[2] != names[1] and 0 not in names


def test_colours_alone_or_keys_alone_are_no_cut():
    features, frames, _ = cut_video()
    still = np.random.default_rng(0).integers(0, len(KINDS), GRID)
    same = scene(np.broadcast_to(still, (BOUNDS[-1], *GRID)).copy())
    assert grouped(same, frames, 8).shots.tolist() == [0]
    assert grouped(features, pictures(BOUNDS[-1], 0), 8).shots.tolist() == [0]


def test_what_flickers_is_no_series_of_shots():
    t = 24
    features = scene(np.zeros((t, *GRID), int) + np.eye(*GRID, dtype=int))
    features.keys[1::2] @= TURNED
    frames = np.concatenate([pictures(1, i % 2, i) for i in range(t)])
    found = grouped(features, frames, 8).shots
    assert len(found) > 1 and np.diff(found).min() >= shots.LEAST


def test_a_shot_that_shows_nothing_has_no_object():
    features, frames, labels = cut_video()
    frames[BOUNDS[1] : BOUNDS[2]] = (0, 0, 90)
    ids = find(describe(grouped(features, frames, 8))).ids
    assert not ids[BOUNDS[1] : BOUNDS[2]].any()
    assert iou(ids[: BOUNDS[1]] > 0, labels[: BOUNDS[1]] > 0) > 0.8


@pytest.mark.slow
def test_a_small_object_of_a_short_shot_is_kept():
    """One hundredth of the foreground is asked for, of a shot and not of the video."""
    parts = ((200, 0), (8, 1))
    labels = np.zeros((208, 12, 16), int)
    labels[:200, 4:, 1:15] = 1
    labels[:200, :1, :1] = 2  # more in all, and less of its shot
    labels[200:, 3:5, 4:6] = 1
    features = scene(labels)
    features.keys[200:] @= TURNED
    frames = np.concatenate([pictures(*part) for part in parts])
    groups = grouped(features, frames, 16)
    inside = np.zeros(len(groups), bool)
    inside[groups.ids[labels > 0]] = True
    found = instances(groups, inside, contacts(groups))[groups.ids]
    assert iou(found[200:] >= 0, labels[200:] > 0) > 0.8
    assert (found[labels == 2] == -1).all()
    assert np.unique(found).tolist() == [-1, 0, 1]


def test_a_state_of_before_shots_has_one(tmp_path):
    features, frames, _ = cut_video()
    state = describe(grouped(features, frames, 8))
    state.save(tmp_path / "state.npz")
    assert State.load(tmp_path / "state.npz").shots.tolist() == BOUNDS[:-1].tolist()
    arrays = {name: x for name, x in vars(state).items() if name in State.__dataclass_fields__}
    del arrays["shots"]
    save_arrays(tmp_path / "old.npz", 3, arrays)
    old = State.load(tmp_path / "old.npz")
    assert old.shots.tolist() == [0] and np.array_equal(old.groups, state.groups)
    save_arrays(tmp_path / "older.npz", 2, arrays)
    with pytest.raises(DataError, match="another version"):
        State.load(tmp_path / "older.npz")


def test_a_line_parts_the_shots_of_a_contact_sheet():
    def drawn(*shots: int) -> np.ndarray:
        sheet = ContactSheet("cuts")
        for _ in range(8):
            sheet.add(np.full((48, 64, 3), 200, np.uint8), np.zeros((48, 64), np.uint8))
        return np.asarray(sheet.draw({}, (0, *shots)).convert("L"))[60:-8]

    def lines(sheet: np.ndarray) -> list[int]:
        return np.flatnonzero((sheet < 60).all(0)).tolist()

    assert lines(drawn()) == []
    assert len(lines(drawn(3))) == 2  # pixels of one line
    assert len(lines(drawn(3, 5, 6))) == 6


def test_distance_of_keys_is_that_of_a_loop():
    a, b = torch.randn(2, 5, 6, 7, generator=torch.manual_seed(0))
    mean = torch.stack((a, b)).mean((0, 1, 2))
    unit = [torch.nn.functional.normalize(x - mean, dim=-1) for x in (a, b)]
    best = torch.zeros(5, 6)
    for y in range(5):
        for x in range(6):
            near = unit[0][max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].flatten(0, 1)
            cosines = near @ unit[1][y, x]
            on_edge = y in (0, 4) or x in (0, 5)  # beyond it there is nothing, at a cosine of 0
            best[y, x] = max(cosines.max(), 0) if on_edge else cosines.max()
    assert shots.estranged(a, b) == pytest.approx(1 - float(best.mean()), abs=1e-6)
