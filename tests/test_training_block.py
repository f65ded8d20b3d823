"""What a block file says of itself, its calibrated tau, and the block before and after training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unveil.attention.block import Block
from unveil.attention.block_file import (
    TAU_SHARE,
    block_metadata,
    calibrated_tau,
    load_block,
    save_block,
    shipped_block,
    tau_of_scale,
)
from unveil.attention.rows import block_rows
from unveil.errors import WeightsError
from unveil.fast.prototypes import Prototypes
from unveil.fast.prototypes import rows as attention_to_prototypes
from unveil.features.weights import DEFAULT
from unveil.training.clips import TrainingClip
from unveil.training.features import ClipFeatures
from unveil.training.losses import LossSettings
from unveil.training.recipe import Recipe
from unveil.training.start import new_block
from unveil.training.step import clip_losses
from unveil.training.trial import random_kl, try_block
from unveil.types import Features


def make_clip(tmp_path: Path, kinds: list[int]) -> ClipFeatures:
    """Two windows of two frames of 4x5 patches, each of the five columns of a kind, and noise."""
    from safetensors.torch import save_file

    g = torch.Generator().manual_seed(0)
    columns = 5 * torch.eye(5, 12)[torch.tensor(kinds)]
    keys = columns.repeat(4, 1).expand(2, 2, 20, 12) + 0.1 * torch.randn(2, 2, 20, 12, generator=g)
    keys = torch.cat([keys.mean(2, keepdim=True), keys], 2)
    save_file({"keys": keys.contiguous()}, tmp_path / "clip.safetensors")
    about = TrainingClip(tmp_path / "clip.mp4", "digest")
    return ClipFeatures(about, tmp_path / "clip.safetensors", (4, 5), ((0, 1), (1, 3)))


def test_a_file_tells_what_it_holds(tmp_path):
    save_block(Block(12, 3), tmp_path / "b", backbone="x", steps=7, scale=2.0)
    about = block_metadata(tmp_path / "b")
    assert (about["channels"], about["heads"], about["steps"]) == (12, 3, 7)
    assert calibrated_tau(tmp_path / "b") == TAU_SHARE * 2.0
    assert tau_of_scale(0.0) > 0, "rows that are all alike still need a tau"


def test_a_file_without_a_scale_has_no_tau(tmp_path):
    save_block(Block(12, 3), tmp_path / "b", backbone="x")
    with pytest.raises(WeightsError, match="no scale of its rows; give tau yourself"):
        calibrated_tau(tmp_path / "b")
    with pytest.raises(WeightsError, match="no block file"):
        calibrated_tau(tmp_path / "none")


def test_a_file_in_fp16_gives_almost_the_same_rows(tmp_path):
    torch.manual_seed(0)
    block = Block(12, 3).eval()
    for dtype in (torch.float32, torch.float16):
        save_block(block, tmp_path / str(dtype), dtype, backbone="x")
    features = Features(torch.randn(3, 2, 3, 12), 14)
    one, two = (
        block_rows(features, load_block(tmp_path / str(d), "x", 12), 1)(0, 3)
        for d in (torch.float32, torch.float16)
    )
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("centred", [True, False])
def test_a_centred_block_sees_no_vector_that_all_keys_share(tmp_path, centred):
    """Neither in rows, nor in rows over prototypes, nor in training; and the file tells which."""
    torch.manual_seed(0)
    save_block(Block(12, 3, centred=centred), tmp_path / "b", backbone="x")
    block = load_block(tmp_path / "b", "x", 12)
    keys, shared = torch.randn(3, 5, 7, 12), 9 * torch.randn(12)

    def seen(keys: torch.Tensor) -> list[torch.Tensor]:
        tokens = keys.flatten(1, 2)
        mass, member = torch.ones(35), torch.arange(105) % 35
        prototypes = Prototypes(tokens[0], mass, member, tokens.mean((0, 1)))
        with_cls = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        losses = clip_losses(block, with_cls, LossSettings(), torch.Generator(), torch.arange(4))
        rows = block_rows(Features(keys, 14), block, 1)(0, 3)
        return [rows, attention_to_prototypes(tokens[1], prototypes, block), losses.total]

    same = [
        torch.allclose(one, two, rtol=1e-4, atol=1e-6)
        for one, two in zip(seen(keys), seen(keys + shared), strict=True)
    ]
    assert same == [centred] * 3


def test_a_tied_start_attends_to_what_is_alike(tmp_path):
    clip = make_clip(tmp_path, [0, 0, 0, 1, 1])
    recipe = Recipe(heads=3, sharpness=2.0)
    tied = new_block(recipe, clip)
    wq, wk, wv = tied.attention.qkv.weight.chunk(3)
    assert torch.equal(wq, wk) and not torch.equal(wq, wv)
    assert torch.equal(new_block(recipe, clip).attention.qkv.weight, tied.attention.qkv.weight)
    other = new_block(replace(recipe, seed=1), clip)
    assert not torch.equal(other.attention.qkv.weight, tied.attention.qkv.weight)
    rows = block_rows(Features(clip.window(0)[:, 1:].unflatten(1, (4, 5)), 1), tied.eval(), 1)
    p = rows(0, 1).unflatten(0, (4, 5)).unflatten(2, (2, 4, 5))
    assert p[:, :3, :, :, :3].sum((2, 3, 4)).min() > 0.8, "without attention it would be 0.6"
    plain = new_block(replace(recipe, start="random"), clip)
    torch.manual_seed(recipe.seed)
    assert torch.equal(plain.attention.qkv.weight, Block(12, 3).attention.qkv.weight)


def test_a_trial_counts_what_is_there(tmp_path):
    """Five columns that attend to themselves: five clusters, and neighbours are others."""
    clip = make_clip(tmp_path, [0, 1, 2, 3, 4])
    block = new_block(Recipe(heads=3, sharpness=4.0), clip).eval()
    trial = try_block(5, block, [clip, clip])
    assert (trial.step, trial.clusters_calibrated) == (5, 5)
    assert 0 < trial.entropy < 0.8
    stripes = make_clip(tmp_path, [0, 0, 0, 1, 1])
    assert try_block(5, block, [stripes]).neighbour_kl < 0.1 * trial.neighbour_kl


def test_random_kl_is_the_median_over_shuffled_pairs():
    p = (3 * torch.randn(5, 7, generator=torch.Generator().manual_seed(1))).softmax(-1)
    others = torch.randperm(5, generator=torch.Generator().manual_seed(0)).tolist()
    each = [
        sum((a - b) * (a.log() - b.log()) for a, b in zip(p[i], p[j], strict=True)).item()
        for i, j in enumerate(others)
    ]
    assert random_kl(p) == pytest.approx(sorted(each)[2], rel=1e-4)


def test_the_shipped_block_fits_its_backbone_and_has_a_tau():
    path = shipped_block(DEFAULT)
    about = block_metadata(path)
    load_block(None, DEFAULT, about["channels"])
    assert calibrated_tau(path) > 0 and about["steps"] == about["recipe"]["steps"]
    assert path.stat().st_size < 5_000_000
    card = path.with_suffix(".md").read_text()
    assert f"{about['steps']:,} steps" in card and f"{about['clips']} clips" in card
