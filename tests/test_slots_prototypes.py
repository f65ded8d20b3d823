"""TimeT's head on frozen features: its parts against slow loops, training it, using it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file

from oracles import prototypes_plain as plain
from training_runs import whole_and_stopped, write_clips
from unveil.cli import main
from unveil.errors import TrainingError, WeightsError
from unveil.segmentation.segmenter import Segmenter
from unveil.slots.carry import Carrier
from unveil.slots.model_file import load_model, model_metadata, save_model
from unveil.slots.prototypes import PrototypeModel, PrototypeSettings, new_prototypes
from unveil.training.clips import TrainingClip
from unveil.training.features import Cache, ClipFeatures
from unveil.training.forwarding import ForwardingSettings, forwarded, forwarding, nearby
from unveil.training.loop import take_step
from unveil.training.monitor import read_log
from unveil.training.optimiser import make_optimiser
from unveil.training.prototypes_method import PrototypeMethod
from unveil.training.prototypes_recipe import PrototypeRecipe
from unveil.training.recipe import read_recipe
from unveil.training.sampling import Sample, generator
from unveil.training.transport import sinkhorn

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = PrototypeSettings(prototypes=3, hidden=(7, 6), width=4)
NEAR = ForwardingSettings(radius=1, neighbours=3)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(seed: int = 1) -> PrototypeModel:
    """A model in double precision, that knows a mean and a scale."""
    model = new_prototypes(SMALL, 5, (2, 3), seed).double()
    model.mean.copy_(rand(5, seed=8))
    model.scale.fill_(1.5)
    return model


def held_together(fast, slow, *of: torch.Tensor) -> None:
    """Two ways to the same tensor, values and gradients."""
    values = [way() for way in (fast, slow)]
    torch.testing.assert_close(values[0], values[1], atol=1e-11, rtol=1e-10)
    weight = rand(*values[0].shape, seed=3)
    grads = [torch.autograd.grad((value * weight).sum(), of) for value in values]
    torch.testing.assert_close(grads[0], grads[1], atol=1e-11, rtol=1e-10)


def test_scores_are_those_of_the_loops():
    model, keys = made(), rand(2, 2, 2, 3, 5).requires_grad_()

    def slow():
        rows = [plain.score(model, key) for key in keys.flatten(0, 3)]
        return torch.stack(rows).view(2, 2, 6, 3)

    held_together(lambda: model(keys), slow, keys, *model.parameters())


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_sinkhorn_is_that_of_the_loops(iterations):
    scores = rand(7, 3).clamp(-1, 1)
    found = sinkhorn(scores, 0.05, iterations)
    torch.testing.assert_close(found, plain.sinkhorn(scores, 0.05, iterations))
    torch.testing.assert_close(found.sum(1), torch.ones(7, dtype=torch.float64))


def test_prototypes_are_used_alike_in_the_end_and_no_epsilon_is_too_small():
    scores = rand(12, 4).clamp(-1, 1)
    even = torch.full((4,), 3.0, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, 0.5, 500).sum(0), even)
    assert sinkhorn(scores.float(), 1e-3, 10).isfinite().all()


def test_patches_nearby_are_at_most_so_many_rows_and_columns_away():
    near = nearby((3, 4), 1)
    for i in range(12):
        for j in range(12):
            assert near[i, j] == (max(abs(i // 4 - j // 4), abs(i % 4 - j % 4)) <= 1)
    assert nearby((2, 3), 6).all() and nearby((2, 3), 0).equal(torch.eye(6) > 0)


@pytest.mark.parametrize(("radius", "neighbours"), [(1, 3), (6, 5), (0, 2), (1, 99)])
def test_forwarding_is_that_of_the_loops(radius, neighbours):
    settings = ForwardingSettings(radius=radius, neighbours=neighbours)
    q, f = rand(2, 6, 3).softmax(-1), rand(2, 4, 6, 5, seed=1)
    slow = [
        plain.forwarded(*one, (2, 3), radius, neighbours, 0.1) for one in zip(q, f, strict=True)
    ]
    found = forwarded(q, f, (2, 3), settings)
    torch.testing.assert_close(found, torch.stack(slow))
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 6, dtype=torch.float64))


def test_assignments_go_with_what_moves():
    f = torch.eye(6, dtype=torch.float64)[None].repeat(3, 1, 1)  # six patches, all unlike
    f = torch.stack([f[t].roll(t, 0) for t in range(3)])[None]
    q = torch.eye(6, dtype=torch.float64)[None]
    found = forwarded(q, f, (1, 6), ForwardingSettings(neighbours=1))
    assert found[0].argmax(-1).tolist() == [4, 5, 0, 1, 2, 3]
    short = forwarded(q, f, (1, 6), ForwardingSettings(neighbours=1, radius=1))
    assert short[0, 2:].argmax(-1).tolist() == [0, 1, 2, 3], "two steps of one patch"


def test_the_loss_is_that_of_the_loops():
    first, f = rand(2, 6, 3).clamp(-1, 1), rand(2, 3, 6, 5, seed=1)
    last = rand(2, 6, 3, seed=2).clamp(-1, 1).requires_grad_()
    held_together(
        lambda: forwarding(first, last, f, (2, 3), 0.1, NEAR),
        lambda: plain.loss(first, last, f, (2, 3), 0.1, NEAR),
        last,
    )


def test_a_step_learns_from_the_last_frame_what_the_first_says(tmp_path):
    """The gradients of the method are those of the loops, through the head."""
    clips = [moving(i, tmp_path, 3) for i in range(2)]
    recipe = PrototypeRecipe(batch=2, frames=4, precision="fp32", model=SMALL, forwarding=NEAR)
    method = PrototypeMethod(recipe)
    module = method.new(clips)
    method.backward(module, [Sample(c, 0, generator(0)) for c in clips], torch.device("cpu"))
    found = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    keys = torch.stack([c.window(0)[:, 1:] for c in clips])
    scores = torch.stack(
        [
            torch.stack([plain.score(module, k) for k in frame])
            for frame in keys[:, [0, -1]].flatten(0, 1)
        ]
    ).unflatten(0, (2, 2))
    features = (keys - module.mean) / module.scale
    plain.loss(scores[:, 0], scores[:, 1], features, (3, 3), 0.1, NEAR).backward()
    for slow, fast in zip(module.parameters(), found, strict=True):
        torch.testing.assert_close(fast, slow.grad.float(), atol=1e-5, rtol=1e-4)


def test_masks_sum_to_one_and_prototypes_permuted_permute_them():
    model, keys, order = made(), rand(4, 2, 3, 5), torch.tensor([2, 0, 1])
    first = model.masks(keys)
    torch.testing.assert_close(first.sum(1), torch.ones(4, 2, 3, dtype=torch.float64))
    with torch.no_grad():
        model.prototypes.copy_(model.prototypes[order])
    torch.testing.assert_close(model.masks(keys), first[:, order])


def test_chunks_change_nothing():
    model, keys = made(), rand(7, 2, 3, 5)
    whole = Carrier(model)
    want = torch.cat([whole.add(keys), whole.flush()])
    assert want.shape == (7, 3, 2, 3) and whole.delay == 0
    for cuts in ([1] * 7, [2, 5], [6, 1]):
        carrier = Carrier(model)
        parts = [carrier.add(part) for part in keys.split(cuts)]
        torch.testing.assert_close(torch.cat([*parts, carrier.flush()]), want)
    assert Carrier(model).add(keys[:0]).shape == (0, 3, 2, 3)


def test_a_model_comes_back_from_its_file(tmp_path):
    model = made().float()
    save_model(model, tmp_path / "m.safetensors", method="timet", backbone="b", size=[28, 42])
    about = model_metadata(tmp_path / "m.safetensors")
    assert (about["kind"], about["model"]["prototypes"]) == ("prototypes", 3)
    again, keys = load_model(tmp_path / "m.safetensors", 5), torch.randn(2, 2, 3, 5)
    assert isinstance(again, PrototypeModel) and again.settings == SMALL
    assert torch.equal(again.masks(keys), model.masks(keys))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prototypes": 256}, "prototypes must be 1 to 255, got 256"),
        ({"hidden": (8, 0)}, "width and hidden must be at least 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"width": "wide"}, "width: expected a whole number, got 'wide'"),
    ],
)
def test_settings_that_make_no_model(wrong, said, untyped):
    with pytest.raises(WeightsError, match=said):
        PrototypeSettings(**wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_gap = 0", "max_gap must be at least 1, got 0"),
        ("[model]\nslots = 3", r"\[model\]: no such entry 'slots'"),
        ("[forwarding]\nradius = -1", "radius must not be negative"),
        ("[forwarding]\niterations = 0", "iterations must be positive"),
        ("[losses]\nsimilarity = 1.0", "no such entry 'losses'"),
        ("[model]\nprototypes = 300", "prototypes must be 1 to 255"),
    ],
)
def test_recipes_that_make_no_sense(text, said, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(f'trains = "prototypes"\n{text}')
    with pytest.raises(TrainingError, match=said):
        read_recipe(file, PrototypeRecipe)


def test_the_shipped_recipe_has_the_published_constants():
    recipe = read_recipe(CONFIGS / "timet.toml", PrototypeRecipe)
    assert recipe.model == PrototypeSettings() and recipe.forwarding == ForwardingSettings()
    assert (recipe.batch, recipe.lr, recipe.final_weight_decay) == (128, 1e-4, 0.4)
    method = PrototypeMethod(recipe)
    assert method.rates(0) == pytest.approx((1e-4, 0.04))
    assert method.rates(recipe.steps) == pytest.approx((0.0, 0.4))
    with pytest.raises(TrainingError, match='says trains = "prototypes"'):
        read_recipe(CONFIGS / "solv.toml", PrototypeRecipe)


def moving(number: int, folder: Path, side: int = 6) -> ClipFeatures:
    """The keys of one window in which a square of a kind crosses a ground of another."""
    rng = np.random.default_rng(number)
    kinds = 3 * np.linalg.qr(np.random.default_rng(99).normal(size=(8, 8)))[0][:2]
    truth, wide = np.zeros((4, side, side), int), side // 2 + 1
    row, column = rng.integers(0, side - wide, 2)
    for t in range(4):
        left = min(column + t, side - wide)
        truth[t, row : row + wide, left : left + wide] = 1
    keys = torch.from_numpy(kinds[truth] + 0.1 * rng.normal(size=(4, side, side, 8))).float()
    file = folder / f"{number}.safetensors"
    save_file({"keys": torch.cat([torch.zeros(4, 1, 8), keys.flatten(1, 2)], 1)[None]}, file)
    clip = TrainingClip(folder / str(number), str(number))
    return ClipFeatures(clip, file, (side, side), (tuple(range(4)),))


def test_training_tells_a_square_from_its_ground(tmp_path):
    clips = [moving(i, tmp_path) for i in range(8)]
    model = PrototypeSettings(prototypes=2, hidden=(16,), width=4)
    recipe = PrototypeRecipe(batch=4, steps=40, lr=1e-2, precision="fp32", model=model)
    method = PrototypeMethod(recipe)
    module = method.new(clips)
    optimiser, fabric = make_optimiser(module, *method.rates(0)), Fabric(accelerator="cpu")
    said = [
        take_step(module, optimiser, method, clips, i, fabric).losses["forwarding"]
        for i in range(recipe.steps)
    ]
    assert said[-1] < 0.1 * said[0]
    keys = moving(99, tmp_path).window(0)[:, 1:].unflatten(1, (6, 6))
    masks = Carrier(module).add(keys).argmax(1)
    alike = keys @ keys[0, 0, 0] > 4.5  # kinds are at right angles, 3 long
    assert ((masks == masks[0, 0, 0]) == alike).float().mean() > 0.98


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"))


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_at_the_same_bits(videos, tiny_backbone, tmp_path):
    run = {"steps": 4, "batch": 2, "windows": 2, "checkpoint_every": 1, "try_every": 2}
    recipe = PrototypeRecipe(
        "tiny", tiny_backbone, (16, 20), validation=1, lr=1e-2, model=SMALL, **run
    )
    cache = Cache(tmp_path / "cache", 10**9)
    a = whole_and_stopped(videos, PrototypeMethod(recipe), cache, tmp_path)
    torch.testing.assert_close(a["prototypes"].norm(dim=1), torch.ones(3))


@pytest.mark.slow
def test_the_commands_train_segment_and_score(videos, tiny_backbone, tmp_path):
    recipe, out = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(
        f'trains = "prototypes"\nmethod = "tiny"\nbackbone = "{tiny_backbone}"\n'
        "size = [16, 20]\nwindows = 2\nsteps = 2\nbatch = 2\nvalidation = 1\n"
        "[model]\nprototypes = 5\nhidden = [8]\nwidth = 4\n"
    )
    line = [str(videos), "--recipe", str(recipe), "--cache", str(tmp_path / "cache")]
    assert main(["train", *line, "--out", str(out), "--accelerator", "cpu"]) == 0
    model = out / "model.safetensors"
    about = model_metadata(model)
    assert (about["method"], about["steps"], about["size"]) == ("tiny", 2, [16, 20])
    assert [r["forwarding"] > 0 for r in read_log(out) if r["kind"] == "step"] == [True, True]
    found = tmp_path / "out"
    assert main(["segment", str(videos / "clip0"), "-o", str(found), "--model", str(model)]) == 0
    with Image.open(found / "masks" / "000.png") as mask:
        labels = np.array(mask)
    assert labels.shape == (24, 36) and labels.min() >= 1, "every pixel is of a prototype"
    stream = Segmenter(model=model).stream([np.zeros((2, 24, 36, 3), np.uint8)])
    assert np.concatenate([labels for _, labels in stream]).shape == (2, 24, 36)
