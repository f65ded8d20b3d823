"""The objects' head: shapes, frames apart, its file, and its losses against slow loops."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from unveil.attention.objects_file import head_metadata, load_head, save_head, shipped_head
from unveil.attention.objects_head import ObjectsHead, look, places
from unveil.errors import WeightsError
from unveil.features.backbone import Backbone
from unveil.features.weights import DEFAULT
from unveil.training.objects_loss import composite_losses, objectness_loss, sameness_loss
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.scenes import SceneSettings

TINY = {"channels": 11, "width": 12, "heads": 2, "embedding": 5}


@pytest.fixture
def head() -> ObjectsHead:
    torch.manual_seed(0)
    return ObjectsHead(**TINY).eval()


def test_it_reads_each_frame_on_its_own_whatever_the_chunks(head):
    keys = torch.randn(5, 3, 7, 11)
    logits, embedding = look(head, keys)
    assert logits.shape == (5, 3, 7) and embedding.shape == (5, 3, 7, 5)
    for chunk in (1, 2, 7):
        again = look(head, keys, chunk)
        assert torch.allclose(logits, again[0], atol=1e-5)
        assert torch.allclose(embedding, again[1], atol=1e-5)
    changed = keys.clone()
    changed[1] += 1
    others = [0, 2, 3, 4]
    assert torch.allclose(look(head, changed)[0][others], logits[others], atol=1e-5)
    assert not torch.allclose(look(head, changed)[0][1], logits[1], atol=1e-3)


def test_it_knows_where_a_patch_is(head):
    same = torch.ones(1, 3, 7, 11)
    logits, _ = look(head, same)
    assert len(logits.unique()) == 21


def test_places_are_in_frame_heights_from_the_middle():
    small, wide = places(3, 5), places(3, 9)
    assert torch.allclose(small[:, 2], wide[:, 4], atol=1e-5), "the middle column is the middle"
    assert torch.allclose(small[:, 1], wide[:, 3], atol=1e-5), "a patch is a patch in any frame"


def test_affinity_is_the_log_odds_of_one_object(head):
    a, b = torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([1.0, 2, 3, 4, 7])
    assert head.affinity(a, b).item() == pytest.approx(head.offset.item() - 4)
    assert head.affinity(a, a).item() == pytest.approx(head.offset.item())


def test_a_file_gives_the_head_back(head, tmp_path):
    keys = torch.randn(2, 3, 7, 11)
    for dtype, close in ((torch.float32, 1e-6), (torch.float16, 2e-2)):
        save_head(head, tmp_path / "head.safetensors", dtype, backbone="one", steps=3)
        again = load_head(tmp_path / "head.safetensors", "one", 11)
        assert torch.allclose(look(again, keys)[0], look(head, keys)[0], atol=close)
        assert not any(p.requires_grad for p in again.parameters()) and not again.training
    about = head_metadata(tmp_path / "head.safetensors")
    assert (about["backbone"], about["steps"]) == ("one", 3)
    assert about["head"]["embedding"] == 5


def test_a_file_that_does_not_fit_is_an_error(head, tmp_path):
    file = tmp_path / "head.safetensors"
    with pytest.raises(WeightsError, match=r"no objects' head .*head\.safetensors; train one"):
        load_head(file, "one", 11)
    file.write_bytes(b"no head")
    with pytest.raises(WeightsError, match="is not a head that Unveil wrote"):
        load_head(file, "one", 11)
    save_head(head, file, backbone="one")
    with pytest.raises(WeightsError, match="trained for backbone 'one', not 'two'"):
        load_head(file, "two", 11)
    with pytest.raises(WeightsError, match="keys of 11 channels, the backbone has 13"):
        load_head(file, "one", 13)
    with pytest.raises(WeightsError, match="no objects' head was trained for backbone 'nothing'"):
        load_head(None, "nothing", 11)
    assert shipped_head("nothing") is None


def test_losses_equal_slow_loops(head):
    torch.manual_seed(1)
    logits, share = torch.randn(2, 3, 5), torch.rand(2, 3, 5)
    known = torch.rand(2, 3, 5) < 0.6
    slow = []
    for x, s, k in zip(logits.flatten(), share.flatten(), known.flatten(), strict=True):
        if k:
            p = 1 / (1 + math.exp(-x))
            slow.append(-s * math.log(p) - (1 - s) * math.log(1 - p))
    fast = objectness_loss(logits, share, known)
    assert fast.item() == pytest.approx(sum(map(float, slow)) / len(slow), rel=1e-5)

    embedding, thing = 0.7 * torch.randn(7, 5), torch.tensor([0, 0, 1, 2, 2, 2, 1])
    same, other = [], []
    for i in range(7):
        for j in range(7):
            if i == j:
                continue
            p = 1 / (1 + math.exp(-head.affinity(embedding[i], embedding[j]).item()))
            if thing[i] == thing[j]:
                same.append(-math.log(p))
            else:
                other.append(-math.log(1 - p))
    slow = 0.5 * sum(same) / len(same) + 0.5 * sum(other) / len(other)
    assert sameness_loss(head, embedding, thing).item() == pytest.approx(slow, rel=1e-4)
    for alone in (torch.zeros(7, dtype=torch.long), torch.arange(7)):
        assert sameness_loss(head, embedding, alone).item() == 0, "pairs of one kind teach nothing"


def test_what_is_not_known_or_not_sure_changes_no_loss(head):
    generator = torch.Generator
    keys, shares = torch.randn(2, 3, 7, 11), torch.zeros(2, 2, 3, 7)
    shares[0, :, 0], shares[1, :, 2] = 1, 0.9
    shares[0, :, 1] = 0.5  # of a thing, and of no one thing surely
    unsure = torch.zeros(2, 3, 7)
    unsure[:, 1, 3] = 1
    first = composite_losses(head, keys, shares, unsure, 0, 100, generator().manual_seed(0))
    shares[0, :, 1, 3] = 0.1
    again = composite_losses(head, keys, shares, unsure, 0, 100, generator().manual_seed(0))
    assert torch.equal(first.objectness, again.objectness)
    assert torch.equal(first.sameness, again.sameness)
    shares[0, :, 1, 2] = 0.1
    again = composite_losses(head, keys, shares, unsure, 0, 100, generator().manual_seed(0))
    assert not torch.equal(first.objectness, again.objectness)
    assert torch.equal(first.sameness, again.sameness)


def test_what_the_background_shows_itself_is_an_object_but_in_no_pair(head):
    keys, unsure = torch.randn(1, 3, 7, 11), torch.zeros(1, 3, 7)
    shares = torch.zeros(3, 1, 3, 7)
    shares[0, :, :, 0] = shares[1, :, :, 3] = shares[2, :, :, 5] = 1
    one = composite_losses(head, keys, shares, unsure, 1, 99, torch.Generator().manual_seed(0))
    logits, embedding = head(keys)
    of = torch.tensor([0, 0, 0, 1, 1, 1])
    pasted = torch.cat((embedding[0, :, 3], embedding[0, :, 5]))
    assert one.sameness.item() == pytest.approx(sameness_loss(head, pasted, of).item(), rel=1e-4)
    known = torch.ones(1, 3, 7, dtype=torch.bool)
    whole = objectness_loss(logits, shares.sum(0), known)
    assert one.objectness.item() == pytest.approx(whole.item(), rel=1e-5)


def test_a_scene_without_things_has_a_loss_with_a_gradient(head):
    keys, unsure = torch.randn(1, 3, 7, 11), torch.zeros(1, 3, 7)
    losses = composite_losses(head, keys, torch.zeros(0, 1, 3, 7), unsure, 0, 9, torch.Generator())
    assert losses.sameness.item() == 0
    losses.total.backward()
    assert head.objectness.weight.grad.abs().sum() > 0


def test_cost_is_under_a_twentieth_of_the_default_backbone():
    """Multiplications of the head on 24x42 patches against those of a ViT-S/14, counted."""
    n, c = 24 * 42, 384
    backbone = 12 * n * (12 * c * c + 2 * n * c)
    head = ObjectsHead(c)
    d, m = head.shape["width"], 12 * 21
    layer = n * (2 * d * d + 4 * d * d) + m * 2 * d * d + 2 * n * m * d
    total = n * (c * d + 32 * d + d * 17) + head.shape["layers"] * layer
    assert total < 0.05 * backbone
    counted = sum(p.numel() for p in head.parameters())
    assert counted < 1_500_000, "fp16, under 3 MB"


def test_the_shipped_head_fits_the_default_backbone_and_is_small():
    file = shipped_head(DEFAULT)
    head, about = load_head(None, DEFAULT, 384), head_metadata(file)
    assert file.stat().st_size < 3_000_000
    assert about["steps"] == ObjectsRecipe().steps and about["clips"] > 50
    recipe = {k: tuple(v) if isinstance(v, list) else v for k, v in about["recipe"].items()}
    recipe["scenes"] = SceneSettings(**recipe["scenes"])
    assert ObjectsRecipe(**recipe) == ObjectsRecipe(), "its recipe is the default one"
    assert all(torch.isfinite(x).all() for x in head.state_dict().values())


def test_the_shipped_head_finds_an_object_it_never_saw(shared, default_backbone):
    """The dog of DAVIS, one frame: nearly all of its patches before all of the rest."""
    root = shared / "davis"
    frame = np.array(Image.open(root / "JPEGImages/480p/dog/00010.jpg"))
    mask = np.array(Image.open(root / "Annotations/480p/dog/00010.png").convert("L")) > 127
    logits, embedding = look(
        load_head(None, default_backbone, 384), Backbone(default_backbone).encode(frame[None]).keys
    )
    share = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(mask).float()[None, None], logits.shape[1:]
    )[0, 0]
    inside, outside = logits[0][share > 0.5], logits[0][share < 0.05]
    assert (inside[:, None] > outside[None]).float().mean() > 0.97
    assert (inside > 0).float().mean() > 0.7 and (outside > 0).float().mean() < 0.1
    head = load_head(None, default_backbone, 384)
    own = embedding[0][share > 0.9]
    assert (head.affinity(own[:, None], own[None]) > 0).float().mean() > 0.6, "it is one dog"
