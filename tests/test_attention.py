"""The block and its rows against attention written out, and every way a block can be wrong."""

import pytest
import torch
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.attention.block_file import load_block, save_block, shipped_block
from unveil.attention.rows import BlockRows, block_rows, cosine_rows, key_frames
from unveil.errors import WeightsError
from unveil.types import Features


def block(channels: int = 12, heads: int = 3, seed: int = 0) -> Block:
    torch.manual_seed(seed)
    return Block(channels, heads).eval().requires_grad_(False)


def features(t: int = 5, h: int = 2, w: int = 3, c: int = 12, seed: int = 0) -> Features:
    g = torch.Generator().manual_seed(seed)
    return Features(torch.randn(t, h, w, c, generator=g), 14)


def attention(b: Block, x: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Head-mean attention [n, m], one token and one head at a time."""
    c, d = b.channels, b.channels // b.heads
    wq, wk = b.attention.qkv.weight[:c], b.attention.qkv.weight[c : 2 * c]
    q, k = b.norm1(x) @ wq.T, b.norm1(keys) @ wk.T
    total = torch.zeros(len(x), len(keys))
    for i in range(len(x)):
        for a in range(b.heads):
            s = slice(a * d, (a + 1) * d)
            total[i] += torch.softmax(k[:, s] @ q[i, s] / d**0.5, 0)
    return total / b.heads


def test_the_paper_s_block_has_the_paper_s_size():
    count = sum(p.numel() for p in Block(384).parameters())
    assert count == 1_773_312  # qkv 442368, proj 147840, mlp 1181568, norms 1536


def test_forward_equals_attention_written_out():
    b, x = block(), torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(3))
    got = b(x)
    for i in range(2):
        y = torch.zeros(7, 12)
        v = b.norm1(x[i]) @ b.attention.qkv.weight[24:].T
        q, k = b.queries_keys(x[i])
        for a in range(3):
            s = slice(4 * a, 4 * a + 4)
            y[:, s] = (q[:, a] @ k[:, a].T / 2).softmax(-1) @ v[:, s]
        y = x[i] + b.attention.proj(y)
        want = y + b.mlp.fc2(F.gelu(b.mlp.fc1(b.norm2(y))))
        torch.testing.assert_close(got[i], want)


def test_block_rows_equal_attention_written_out():
    b, f = block(), features(t=23)
    rows = block_rows(f, b)
    assert (rows.frames, rows.h, rows.w) == (23, 2, 3)
    keys = f.keys[[0, 10]].flatten(0, 2)
    torch.testing.assert_close(rows(4, 6), attention(b, f.keys[4:6].flatten(0, 2), keys))


@pytest.mark.parametrize("sharp", [1.0, 30.0])
def test_block_rows_are_right_for_small_logits_and_for_large_ones(sharp):
    """Where no logit can be large no maximum is taken away; e to the power of 900 overflows."""
    g = torch.Generator().manual_seed(0)
    q = sharp * torch.randn(2, 7, 11, 2, 5, generator=g)
    k = sharp * torch.randn(13, 2, 5, generator=g)
    logits = torch.einsum("thwad,mad->athwm", q.double(), k.double()) / 5**0.5
    assert (logits.abs().max() > 88) == (sharp > 1)
    want = logits.softmax(-1).mean(0).flatten(0, 2).float()
    torch.testing.assert_close(BlockRows(q, k)(0, 2), want, atol=1e-5, rtol=1e-4)


def test_cosine_rows_equal_the_definition():
    f = features(t=3)
    tokens = f.keys.flatten(0, 2)
    unit = F.normalize(tokens - tokens.mean(0), dim=-1)
    want = torch.softmax(unit @ unit[:6].T / 0.1, -1)
    torch.testing.assert_close(cosine_rows(f)(0, 3), want)


@pytest.mark.parametrize(
    ("frames", "want"), [(1, [0]), (9, [0]), (10, [0]), (19, [0]), (20, [0, 10])]
)
def test_key_frames_are_those_published_and_at_least_one(frames, want):
    assert key_frames(frames) == want


def test_a_saved_block_comes_back_whole(tmp_path):
    b = block()
    save_block(b, tmp_path / "b.safetensors", backbone="mine", steps=3)
    again = load_block(tmp_path / "b.safetensors", "mine", 12)
    assert again.heads == 3
    for name, value in b.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert [p.name for p in tmp_path.iterdir()] == ["b.safetensors"]


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    file = tmp_path / "b.safetensors"
    save_block(block(), file, backbone="mine")
    with pytest.raises(WeightsError, match=r"trained for backbone 'mine', not 'yours'"):
        load_block(file, "yours", 12)
    with pytest.raises(WeightsError, match="does not fit a block of 24 channels"):
        load_block(file, "mine", 24)
    with pytest.raises(WeightsError, match="no block file"):
        load_block(tmp_path / "gone", "mine", 12)
    file.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a block that Unveil wrote"):
        load_block(file, "mine", 12)
    with pytest.raises(WeightsError, match=r"'--attention cosine', which needs none"):
        shipped_block("dino-s8")
    with pytest.raises(WeightsError, match="cannot have 5 heads"):
        Block(12, 5)
