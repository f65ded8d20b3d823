"""The losses against loops written from the equations: values and gradients, at odd sizes."""

import pytest
import torch

from oracles import losses_slow as slow
from oracles.training_plain import plain_losses
from unveil.attention.block import Block
from unveil.training.losses import (
    FLOOR,
    LossSettings,
    draw_queries,
    extremes,
    motion_consistency,
    semantic_consistency,
)
from unveil.training.rows import attend, head_mean_rows
from unveil.training.step import _Draw, clip_losses

SIZES = [(2, 1, 7, 3), (3, 3, 11, 5), (5, 2, 13, 7)]
SMALL = LossSettings(
    queries=3,
    semantic_positives=300,
    semantic_negatives=500,
    motion_positives=250,
    motion_negatives=400,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return (2 * draw(*shape, seed=seed)).softmax(-1)


@pytest.mark.parametrize(("t", "p", "n", "c"), SIZES)
def test_semantic_consistency_equals_the_loops(t, p, n, c):
    attention = rows(p * t, t, n)
    values = []
    for function in (slow.semantic, None):
        tokens = draw(t, n, c, seed=1).requires_grad_()
        queries = draw(p * t, c, seed=2).requires_grad_()
        if function:
            a, b, _, _ = SMALL.counts(n)
            loss = function(attention, queries, tokens, a, b)
        else:
            loss = semantic_consistency(attention, queries, tokens, SMALL)
        loss.backward()
        values.append((loss.detach(), tokens.grad, queries.grad))
    torch.testing.assert_close(values[0], values[1], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("t", "p", "n", "c"), SIZES)
def test_motion_consistency_equals_the_loops(t, p, n, c):
    _, _, a, b = SMALL.counts(n)
    values = []
    for fast in (False, True):
        every = (0.8 * draw(t, n, t * n)).softmax(-1)
        # Rows that no longer sum to 1, as dropout leaves them; without ties, whose order is open.
        every = (every * (1 + (draw(t, n, t * n, seed=5) > -0.5))).requires_grad_()
        queries = every[:, :p]
        own = queries.detach().unflatten(2, (t, n))[torch.arange(t), :, torch.arange(t)]
        if fast:
            high, low = extremes(own, a, b)
            q = queries.detach() / queries.detach().sum(-1, keepdim=True)
            s = q @ (every / every.sum(-1, keepdim=True) + FLOOR).log().transpose(1, 2)
            loss = motion_consistency(queries, s.gather(-1, high), s.gather(-1, low), SMALL)
        else:
            loss = slow.motion(queries, every, own, a, b)
        loss.backward()
        values.append((loss.detach(), every.grad))
    assert values[0][0] > 0
    torch.testing.assert_close(values[0], values[1], atol=1e-12, rtol=1e-9)


def test_a_focused_query_weighs_more():
    focused = torch.tensor([0.97, 0.01, 0.01, 0.01])
    queries = torch.stack([focused, torch.full((4,), 0.25)])[None]
    lost = torch.zeros(1, 2, 1)
    only_first = motion_consistency(queries, lost, torch.tensor([[[1.0], [-9.0]]]), SMALL)
    only_second = motion_consistency(queries, lost, torch.tensor([[[-9.0], [1.0]]]), SMALL)
    entropy = -(focused * focused.log()).sum()
    ratio = torch.exp(torch.log(torch.tensor(4.0)) - entropy)
    torch.testing.assert_close(only_first / only_second, ratio)
    torch.testing.assert_close(only_first + only_second, torch.tensor(2.0))


def test_counts_scale_with_the_grid():
    assert LossSettings().counts(24 * 48) == (30, 200, 10, 50)
    assert LossSettings().counts(24 * 42) == (26, 175, 9, 44)
    assert LossSettings().counts(6) == (1, 1, 1, 1)


def test_queries_are_different_and_follow_the_generator():
    one = draw_queries(11, 8, torch.Generator().manual_seed(3))
    assert sorted(set(one.tolist())) == sorted(one.tolist())
    assert torch.equal(one, draw_queries(11, 8, torch.Generator().manual_seed(3)))
    assert len(draw_queries(5, 8, torch.Generator())) == 5


def make_block(seed: int = 0) -> Block:
    torch.manual_seed(seed)
    block = Block(12, 3).double()
    with torch.no_grad():
        block.attention.qkv.weight *= 4  # rows far from uniform
    return block


@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize(("t", "n"), [(2, 11), (3, 35)])
def test_the_step_equals_the_plain_transcription(t, n, multiple, monkeypatch):
    """Dropout off: to 1e-9 in double precision, losses and every gradient."""
    monkeypatch.setattr("unveil.training.rows.MULTIPLE", multiple)
    features, positions = draw(t, 1 + n, 12), torch.randperm(n)[:5]
    block = make_block().eval()
    semantic, motion = plain_losses(block, features, SMALL, positions)
    (semantic + motion).backward()
    want = [p.grad.clone() for p in block.parameters()]
    block.zero_grad()
    losses = clip_losses(block, features, SMALL, torch.Generator(), positions)
    losses.total.backward()
    assert motion > 0 and semantic > 0
    torch.testing.assert_close(losses.semantic, semantic, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(losses.motion, motion, atol=1e-9, rtol=1e-9)
    for p, grad in zip(block.parameters(), want, strict=True):
        torch.testing.assert_close(p.grad, grad, atol=1e-9, rtol=1e-9)
    assert block.attention.qkv.weight.grad.abs().max() > 1e-4


def test_dropout_follows_the_generator_and_is_unbiased():
    features, block = draw(3, 36, 12), make_block().train()

    def losses(seed: int) -> torch.Tensor:
        return clip_losses(block, features, SMALL, torch.Generator().manual_seed(seed)).total

    assert torch.equal(losses(1), losses(1))
    assert not torch.equal(losses(1), losses(2))


def test_dropout_is_published_for_every_row():
    """Rate and mean; and no two entries of a row, or of a column, are one draw."""
    factors = _Draw(torch.Generator().manual_seed(0), torch.device("cpu"), True).factors
    found = factors((8, 97, 101), 0.4, torch.float64)
    assert set(found.unique().tolist()) == {0.0, 256 / 154}
    assert abs(found.mean() - 1) < 0.01
    assert abs((found == 0).double().mean() - 0.4) < 0.005
    # Where in memory an entry lies is which draw it is.
    sizes = zip(found.shape, found.stride(), strict=True)
    a, r, n = (torch.arange(size) * step for size, step in sizes)
    assert len({*(a[:, None] + n).flatten().tolist()}) == 8 * 101
    assert len({*(a[:, None] + r).flatten().tolist()}) == 8 * 97
    assert torch.equal(factors((3, 4), 0.0, torch.float32), torch.ones(3, 4))


def whole_attention(q, k, v, factors, queries):
    """What `attend` gives, through the whole matrix."""
    e, n = factors.shape[1:]
    each = (torch.einsum("rad,mad->arm", q, k) * q.shape[-1] ** -0.5).softmax(-1)
    rows = (each[:, :e, :n] * factors).mean(0)
    logs = (rows / rows.sum(-1, keepdim=True) + FLOOR).log()
    return torch.einsum("arm,mad->rad", each, v), queries / queries.sum(-1, keepdim=True) @ logs.T


def attention_by(function, dtype, explicit: int, sharpness: float) -> list[torch.Tensor]:
    """Values and gradients at seven queries, ten keys and three heads, rows over nine keys."""
    q = (sharpness * draw(7, 3, 4)).to(dtype).requires_grad_()
    k, v = (draw(10, 3, 4, seed=seed).to(dtype).requires_grad_() for seed in (1, 2))
    wide = torch.promote_types(dtype, torch.float32)
    kept = draw(3, explicit, 9, seed=4) > -0.3
    kept[0] = True  # something is left of every row
    factors = (1.7 * kept).to(wide)
    queries = (2 * rows(2, 9, seed=6)).to(wide).requires_grad_(function is attend)
    found = function(q, k, v, factors, queries)
    grad = draw(7, 3, 4, seed=3).to(dtype)
    grad[-2] = 0  # a token from which nothing flows
    torch.autograd.backward(found, [grad, draw(2, explicit, seed=5).to(wide)])
    assert queries.grad is None
    return [x.detach().double() for x in (*found, q.grad, k.grad, v.grad)]


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
@pytest.mark.parametrize("explicit", [0, 3, 7])
def test_attention_in_pieces_equals_attention_at_once(explicit, sharpness, multiple, monkeypatch):
    """Also with logits whose exp no number in fp32 can hold."""
    monkeypatch.setattr("unveil.training.rows.PIECE", 160)  # two rows of ten keys in double
    monkeypatch.setattr("unveil.training.rows.MULTIPLE", multiple)
    want = attention_by(whole_attention, torch.float64, explicit, sharpness)
    found = attention_by(attend, torch.float64, explicit, sharpness)
    torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-10)
    found = attention_by(attend, torch.float32, explicit, sharpness)
    torch.testing.assert_close(found, want, atol=2e-4 * sharpness, rtol=1e-4)


def test_attention_in_bf16_is_as_near_as_bf16_can_be(monkeypatch):
    monkeypatch.setattr("unveil.training.rows.PIECE", 160)
    want = attention_by(whole_attention, torch.float64, 3, 1.0)
    for x, y in zip(attention_by(attend, torch.bfloat16, 3, 1.0), want, strict=True):
        assert (x - y).norm() < 0.015 * y.norm()


def test_rows_of_which_dropout_leaves_nothing_are_finite():
    q, k = draw(5, 3, 4).float().requires_grad_(), draw(10, 3, 4, seed=1).float()
    out, similarity = attend(q, k, k, torch.zeros(3, 5, 9), rows(2, 9).float())
    (out.sum() + similarity.sum()).backward()
    torch.testing.assert_close(similarity, torch.full((2, 5), FLOOR).log())
    assert q.grad.isfinite().all()


def test_rows_of_queries_equal_their_equation():
    q, k = draw(5, 3, 4).requires_grad_(), draw(10, 3, 4, seed=1)
    factors = rows(3, 5, 9, seed=2)
    each = (torch.einsum("rad,mad->arm", q, k) / 2).softmax(-1)[..., :9]
    found = head_mean_rows(q, k, factors)
    assert not found.requires_grad
    torch.testing.assert_close(found, (each * factors).mean(0).detach(), atol=1e-12, rtol=1e-10)


def test_bf16_stays_near_fp32():
    """Losses to a hundredth and gradients in the same direction, dropout off."""
    features, block = draw(3, 36, 12).float(), make_block().float().eval()
    positions, grads, totals = torch.arange(5), [], []
    for enabled in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = clip_losses(block, features, SMALL, torch.Generator(), positions)
        losses.total.backward()
        totals.append(losses.total.detach())
        grads.append(torch.cat([p.grad.flatten() for p in block.parameters()]))
    torch.testing.assert_close(totals[1], totals[0], atol=0.02, rtol=0.01)
    assert torch.nn.functional.cosine_similarity(*grads, dim=0) > 0.98
