"""The backbone against keys computed step by step from the model's own weights."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from conftest import TINY, make_tiny_backbone
from unveil.errors import InputError, WeightsError
from unveil.features import dinov2, weights
from unveil.features.backbone import RELEASED_COLOURS, Backbone, pick_device
from unveil.features.dinov2 import interpolated
from unveil.features.hub_model import HubModel


def frames(t: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3), dtype=np.uint8)


def keys_step_by_step(folder, pixels: torch.Tensor, layers: int) -> torch.Tensor:
    """Last-block keys [t, h, w, c] of a Dinov2 model, from its tensors alone."""
    from transformers import AutoModel

    names = AutoModel.from_pretrained(folder).state_dict()  # this version's names
    config = json.loads((folder / "config.json").read_text())
    heads, patch = config["num_attention_heads"], config["patch_size"]
    get = names.__getitem__

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], get(f"{name}.weight"), get(f"{name}.bias"), 1e-6)

    def linear(x, name):
        return x @ get(f"{name}.weight").T + get(f"{name}.bias")

    t, _, height, width = pixels.shape
    h, w = height // patch, width // patch
    kernel = "embeddings.patch_embeddings.projection"
    x = F.conv2d(pixels, get(f"{kernel}.weight"), get(f"{kernel}.bias"), stride=patch)
    x = x.flatten(2).transpose(1, 2)
    position = get("embeddings.position_embeddings")
    side = int((position.shape[1] - 1) ** 0.5)
    grid = position[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (h, w), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    cls = get("embeddings.cls_token").expand(t, -1, -1)
    x = torch.cat([cls + position[:, :1], x + grid], 1)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        y = norm(x, f"{layer}.norm1")
        q, k, v = (linear(y, f"{layer}.attention.{n}_proj") for n in "qkv")
        if i == layers - 1:
            return k[:, 1:].unflatten(1, (h, w))
        out = torch.zeros_like(x)
        d = x.shape[-1] // heads
        for a in range(heads):
            s = slice(a * d, (a + 1) * d)
            out[..., s] = (q[..., s] @ k[..., s].transpose(1, 2) / d**0.5).softmax(-1) @ v[..., s]
        x = x + linear(out, f"{layer}.attention.o_proj") * get(f"{layer}.layer_scale1.lambda1")
        y = F.gelu(linear(norm(x, f"{layer}.norm2"), f"{layer}.mlp.fc1"))
        x = x + linear(y, f"{layer}.mlp.fc2") * get(f"{layer}.layer_scale2.lambda1")
    raise AssertionError("unreachable")


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 28), (29, 15)])
def test_keys_equal_those_computed_step_by_step(tmp_path, height, width):
    folder = make_tiny_backbone(tmp_path / "b", layers=3)
    backbone = Backbone(str(folder), "cpu", torch.float32)
    x = frames(2, height, width)
    got = backbone.encode(x, (height, width))
    h, w = height // 4, width // 4
    want = keys_step_by_step(folder, backbone.prepare(x, h, w), layers=3)
    assert got.keys.shape == (2, h, w, 16)
    torch.testing.assert_close(got.keys, want, atol=1e-5, rtol=1e-5)


def test_default_weights_give_the_keys_of_their_own_tensors(default_backbone):
    backbone = Backbone(default_backbone, "cpu", torch.float32)
    x = frames(1, 70, 98)
    got = backbone.encode(x, (70, 98)).keys
    want = keys_step_by_step(weights.path(default_backbone), backbone.prepare(x, 5, 7), layers=12)
    assert got.shape == (1, 5, 7, 384)
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", list(TINY))
def test_every_family_gives_the_keys_of_the_whole_model(tmp_path, family):
    from transformers import AutoModel

    folder = make_tiny_backbone(tmp_path / "b", family)
    backbone = Backbone(str(folder), "cpu", torch.float32)
    options = {"add_pooling_layer": False} if family == "vit" else {}
    model = AutoModel.from_pretrained(folder, **options).eval()
    seen = []
    projections = [m for n, m in model.named_modules() if n.endswith("k_proj")]
    projections[-1].register_forward_hook(lambda module, x, y: seen.append(y))
    x = frames(2, 16, 24)
    with torch.inference_mode():
        extra = {"interpolate_pos_encoding": True} if family == "vit" else {}
        model(backbone.prepare(x, 4, 6), **extra)
    torch.testing.assert_close(backbone.encode(x, 16).keys.flatten(1, 2), seen[0][:, -24:])


def test_positions_by_scale_are_sampled_a_tenth_of_a_patch_wider():
    """Bicubic by hand along each axis: sample i lies at (i + ½) · side / (n + 0.1) - ½."""
    side, h, w = 5, 6, 8
    table = torch.randn(1, 1 + side * side, 3, generator=torch.Generator().manual_seed(0))
    got = interpolated(table, h, w, by_scale=True)

    def weights_of(n: int) -> np.ndarray:
        out = np.zeros((n, side))
        for i in range(n):
            at = (i + 0.5) * side / (n + 0.1) - 0.5
            for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                d, a = abs(at - tap), -0.75
                near = (a + 2) * d**3 - (a + 3) * d**2 + 1
                far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
                out[i, np.clip(tap, 0, side - 1)] += near if d <= 1 else far
        return out

    grid = table[0, 1:].numpy().reshape(side, side, -1)
    want = np.einsum("yi,xj,ijc->yxc", weights_of(h), weights_of(w), grid)
    np.testing.assert_allclose(got[0, 1:], want.reshape(h * w, -1), atol=1e-5)
    assert torch.equal(got[:, :1], table[:, :1])
    assert torch.equal(interpolated(table, side, side, by_scale=True), table)


@pytest.mark.parametrize("by_scale", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dinov2_here_is_that_of_transformers_to_the_bit(tmp_path, by_scale, dtype):
    folder = make_tiny_backbone(tmp_path / "b", layers=3)
    own = dinov2.load(folder, by_scale).to(dtype)
    theirs = HubModel("b", folder, by_scale).to(dtype)
    names = ("patch", "channels", "heads", "prefix")
    assert [getattr(own, n) for n in names] == [getattr(theirs, n) for n in names]
    for height, width in ((20, 20), (12, 28)):
        x = torch.randn(2, 3, height, width, dtype=dtype)
        for got, want in zip(own(x), theirs(x), strict=True):
            assert torch.equal(got, want)


def test_dinov2_needs_no_transformers_and_others_do(tmp_path, monkeypatch):
    paths = {family: make_tiny_backbone(tmp_path / family, family) for family in TINY}
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert Backbone(str(paths.pop("dinov2")), "cpu").channels == 16
    for path in paths.values():
        with pytest.raises(ImportError):
            Backbone(str(path), "cpu")


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "relu"}, {"use_swiglu_ffn": True}, {"image_size": [20, 20]}, {"patch_size": 0}],
)
def test_a_dinov2_of_another_kind_is_left_to_transformers(tmp_path, change):
    folder = make_tiny_backbone(tmp_path / "b")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert dinov2.load(folder) is None


def test_colours_are_normalised_by_what_is_asked_for(tiny_backbone):
    x = frames(1, 16, 16)
    mean, std = (np.array(c) for c in RELEASED_COLOURS)
    got = Backbone(tiny_backbone, "cpu", colours=RELEASED_COLOURS).prepare(x, 4, 4)
    np.testing.assert_allclose(got[0].permute(1, 2, 0), (x[0] / 255 - mean) / std, atol=1e-5)


def test_saliency_is_a_distribution_and_batches_do_not_matter(tiny_backbone):
    backbone = Backbone(tiny_backbone, "cpu", torch.float32)
    x = frames(5, 17, 23)
    one, all_at_once = backbone.encode(x, 16, batch=1), backbone.encode(x, 16, batch=5)
    assert one.saliency.shape == (5, 4, 5)
    torch.testing.assert_close(one.saliency.sum((1, 2)), torch.ones(5))
    torch.testing.assert_close(one.keys, all_at_once.keys)
    torch.testing.assert_close(
        torch.cat([f.keys for f in backbone.encode_chunks([x[:2], x[2:]], 16)]), one.keys
    )


def test_bf16_stays_close(tiny_backbone):
    x = frames(2, 16, 24)
    exact = Backbone(tiny_backbone, "cpu", torch.float32).encode(x, 16).keys
    half = Backbone(tiny_backbone, "cpu", torch.bfloat16).encode(x, 16).keys
    assert half.dtype == torch.bfloat16
    assert F.cosine_similarity(half.float(), exact, dim=-1).min() > 0.99


def test_grid_keeps_the_aspect_and_whole_patches(tiny_backbone):
    backbone = Backbone(tiny_backbone, "cpu")
    backbone.patch = 14
    assert backbone.grid(480, 854, 336) == (24, 42)
    assert backbone.grid(854, 480, 336) == (42, 24)
    assert backbone.grid(480, 854, (560, 840)) == (40, 60)
    with pytest.raises(InputError, match="no whole patch"):
        backbone.grid(480, 854, 13)


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_weights_that_do_not_fit_are_an_error(tmp_path, change):
    folder = make_tiny_backbone(tmp_path / "b")
    state = load_file(folder / "model.safetensors")
    if change == "missing":
        state.pop(sorted(state)[-1])
    else:
        state["intruder"] = torch.zeros(1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"missing keys|unexpected keys"):
        Backbone(str(folder), "cpu")


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="'cuda:99'"):
        pick_device("cuda:99")
