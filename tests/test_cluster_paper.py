"""The published clustering against a slow transcription, and where the published code broke."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from oracles import cluster_slow
from unveil.attention.divergence import log, symmetric_kl
from unveil.attention.rows import BlockRows, CosineRows
from unveil.errors import InputError
from unveil.paper import directions as directions_module
from unveil.paper import neighbours as neighbours_module
from unveil.paper.clustering import WINDOW, merge
from unveil.paper.directions import Directions
from unveil.paper.neighbours import Neighbours
from unveil.segmentation.first_pass import PaperFinder
from unveil.settings import Settings
from unveil.types import Features


@dataclass
class Given:
    """Rows that are already there: [t, h, w, m]."""

    p: torch.Tensor

    def __post_init__(self):
        self.frames, self.h, self.w, _ = self.p.shape

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.p[start:stop].flatten(0, 2).clone()

    def some(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.p.flatten(0, 2)[tokens]


def mixture(t: int, h: int, w: int, m: int, sharp: float, seed: int = 0) -> Given:
    """Rows drawn around three distributions, sharper the larger `sharp` is."""
    g = torch.Generator().manual_seed(seed)
    modes = torch.randn(3, m, generator=g) * sharp
    which = torch.randint(3, (t, h, w), generator=g)
    noise = 0.4 * torch.randn(t, h, w, m, generator=g)
    return Given((modes[which] + noise).softmax(-1))


@pytest.mark.parametrize("t", [1, 2, 3, 5, 7])
@pytest.mark.parametrize(("sharp", "tau"), [(0.3, 1.0), (1.0, 0.3), (2.0, 1.0), (1.0, 0.05)])
def test_equals_the_slow_transcription(t: int, sharp: float, tau: float):
    rows = mixture(t, 3, 2, 11, sharp, seed=t)
    got = merge(rows, tau)
    labels, centres = cluster_slow.merge(rows.p.double().flatten(1, 2).numpy(), tau, WINDOW)
    assert got.labels.shape == (t, 3, 2)
    np.testing.assert_array_equal(got.labels.flatten(1).numpy(), labels)
    np.testing.assert_allclose(got.centres.numpy(), centres, atol=1e-5)


def test_the_transcription_sees_different_cluster_counts():
    """Guards the test above: its cases must not all be one cluster, nor all singletons."""
    counts = {
        len(merge(mixture(5, 3, 2, 11, sharp), tau).centres)
        for sharp, tau in [(0.3, 1.0), (1.0, 0.3), (1.0, 0.05)]
    }
    assert len(counts) == 3
    assert min(counts) == 1
    assert max(counts) > 5


def test_the_last_frame_and_short_clips_are_kept():
    for t in range(1, 10):
        assert merge(mixture(t, 2, 3, 7, 1.0), 1.0).labels.shape[0] == t


def test_underflowed_rows_make_no_nan():
    p = torch.zeros(2, 2, 2, 5)
    p[..., 0] = 1.0
    p[1, 1, 1] = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5])
    got = merge(Given(p), 1.0)
    assert torch.isfinite(got.centres).all()
    assert got.labels.unique().tolist() == [0, 1]
    assert got.labels[1, 1, 1] != got.labels[0, 0, 0]


def test_relabelling_tokens_of_one_cluster_changes_nothing_and_runs_agree():
    rows = mixture(4, 3, 5, 13, 1.0)
    first, second = merge(rows, 1.0), merge(rows, 1.0)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.centres, second.centres)


def test_symmetric_kl_of_every_pair():
    g = torch.Generator().manual_seed(1)
    p, q = torch.rand(3, 7, generator=g).softmax(-1), torch.rand(5, 7, generator=g).softmax(-1)
    got = symmetric_kl(p, q)
    want = [[cluster_slow.symmetric_kl(a, b) for b in q.numpy()] for a in p.numpy()]
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6)
    assert symmetric_kl(p, p).diagonal().abs().max() < 1e-6


def test_block_rows_are_distributions_over_the_keys():
    g = torch.Generator().manual_seed(2)
    rows = BlockRows(torch.randn(3, 2, 5, 4, 6, generator=g), torch.randn(11, 4, 6, generator=g))
    p = rows(1, 3)
    assert p.shape == (20, 11)
    torch.testing.assert_close(p.sum(-1), torch.ones(20))


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="tau"):
        merge(mixture(1, 1, 1, 3, 1.0), 0.0)


def test_rows_of_some_tokens_are_those_of_their_frames():
    g = torch.Generator().manual_seed(3)
    q, k = torch.randn(3, 2, 5, 4, 6, generator=g), torch.randn(11, 4, 6, generator=g)
    tokens = torch.tensor([29, 0, 13])
    for rows in (BlockRows(q, k), CosineRows(q.flatten(3), k.flatten(1))):
        torch.testing.assert_close(rows.some(tokens), rows(0, 3)[tokens])


def underflowed(n: int, sharp: float) -> torch.Tensor:
    """Rows [n, 37] of doubles, a third of them with zeros, as underflow leaves them."""
    p = mixture(1, 1, n, 37, sharp, seed=n).p.flatten(0, 2).double()
    p[: n // 3, 5:20] = 0
    return p / p.sum(1, keepdim=True)


@pytest.fixture(params=[3, 16, 128])
def few_directions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many directions: as many as leave nearly all undecided, some, or nothing."""
    monkeypatch.setattr(directions_module, "DIRECTIONS", request.param)
    return request.param


@pytest.mark.parametrize("scattered", [0.0, 2.0])  # all pairs in blocks, or each alone
@pytest.mark.parametrize("n", [1, 2, 7, 300])
@pytest.mark.parametrize(("sharp", "tau"), [(0.3, 0.05), (1.0, 0.3), (2.0, 1.0), (5.0, 1.0)])
def test_neighbours_are_those_of_the_full_comparison(
    n: int, sharp: float, tau: float, scattered: float, few_directions: int, monkeypatch
):
    monkeypatch.setattr(neighbours_module, "SCATTERED", scattered)
    monkeypatch.setattr(neighbours_module, "BUNCH", 5)
    monkeypatch.setattr(neighbours_module, "BLOCK", 11)
    p = underflowed(n, sharp)
    near = symmetric_kl(p, p) <= tau
    neighbours = Neighbours.of(p, tau)
    some = torch.arange(0, n, 2)
    torch.testing.assert_close(neighbours.near(some, torch.arange(n)), near[some])
    torch.testing.assert_close(neighbours.sums(), near.fill_diagonal_(True).double() @ p)


@pytest.mark.parametrize("sharp", [0.3, 1.0, 5.0])
def test_distances_lie_within_their_bounds(sharp: float, few_directions: int):
    p, others = underflowed(50, sharp), underflowed(31, sharp)
    found = Directions.of(p, log(p))
    a, b = found.sketch(p, log(p)), found.sketch(others, log(others))
    least, true = a.at_least(b), symmetric_kl(p, others)
    most = least + a.spread(torch.arange(50)[:, None], b, torch.arange(31))
    assert (least <= true + 1e-9).all() and (true <= most + 1e-9).all()


def test_few_directions_decide_nearly_all_pairs():
    """Guards the tests above: bounds that decide nothing would be worth nothing."""
    g = torch.Generator().manual_seed(4)
    p = (torch.randn(300, 8, generator=g) @ torch.randn(8, 500, generator=g) / 4).softmax(-1)
    found = Directions.of(p, log(p)).first(16)
    sketch, each = found.sketch(p, log(p)), torch.arange(300)
    least = sketch.at_least(sketch)
    most = least + sketch.spread(each[:, None], sketch, each)
    assert 0.1 < (least > 1.0).float().mean() < 0.99
    assert ((least <= 1.0) & (most > 1.0)).float().mean() < 0.05


def test_the_nearest_centre_is_sure_only_where_it_is_the_nearest(few_directions: int):
    p = underflowed(300, 2.0)
    centres = torch.cat((p[::40], p[:1]))  # the last as near as the first
    found = Directions.of(p, log(p))
    nearest, sure = found.nearest(found.sketch(p, log(p)), centres)
    true = symmetric_kl(centres, p)
    assert torch.equal(nearest[sure], true.argmin(0)[sure])
    assert not sure[true.argmin(0) == 0].any()
    assert few_directions < 37 or sure.float().mean() > 0.5


def test_the_last_frame_may_be_left_out_and_copied():
    g = torch.Generator().manual_seed(0)
    keys, saliency = torch.randn(4, 3, 5, 8, generator=g), torch.rand(4, 3, 5, generator=g)
    found = {}
    for how, t in (("own", 3), ("copied", 4)):
        finder = PaperFinder(Settings(mode="paper", attention="cosine", last_frame=how))
        finder.add(Features(keys[:t], 14, saliency[:t]), np.zeros((t, 3, 5, 3), np.uint8))
        found[how] = finder.finish()
    ids = found["copied"].ids
    assert len(ids) == 4 and np.array_equal(ids[3], ids[2])
    assert (
        np.array_equal(ids[:3], found["own"].ids) and found["copied"].scores == found["own"].scores
    )
