"""SMTC on frozen features: its parts against slow loops, training it, using it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file

from oracles import smtc_plain as plain
from training_runs import whole_and_stopped, write_clips
from unveil.cli import main
from unveil.errors import TrainingError, WeightsError
from unveil.segmentation.segmenter import Segmenter
from unveil.slots.carry import Carrier
from unveil.slots.model_file import load_model, model_metadata, save_model
from unveil.slots.smtc import Described, SmtcModel, SmtcSettings, matched, new_smtc
from unveil.training import smtc_losses as losses
from unveil.training.clips import TrainingClip
from unveil.training.features import Cache, ClipFeatures
from unveil.training.loop import take_step
from unveil.training.monitor import read_log
from unveil.training.optimiser import make_optimiser
from unveil.training.recipe import read_recipe
from unveil.training.smtc_losses import SmtcLossSettings
from unveil.training.smtc_method import SmtcMethod
from unveil.training.smtc_recipe import SmtcRecipe
from unveil.training.teacher import Taught
from unveil.training.transport import sinkhorn

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = SmtcSettings(semantics=3, instances=2)
EASY = SmtcLossSettings(share=0.2, area=0.1, like=-0.2, margin=-0.3)
"""Of what is drawn at random some counts and some does not."""


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(seed: int = 1, settings: SmtcSettings = SMALL) -> SmtcModel:
    """A model in double precision, no parameter at a special value, that knows a mean and scale."""
    model = new_smtc(settings, 5, (2, 3), seed).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p += 0.1 * rand(*p.shape, seed=i)
    model.mean.copy_(rand(5, seed=8))
    model.scale.fill_(1.5)
    return model


def held_together(fast, slow, *of: torch.Tensor) -> None:
    """Two ways to the same tensors, values and gradients."""
    found = []
    for way in (fast, slow):
        values = way()
        total = sum((v * rand(*v.shape, seed=3 + i)).sum() for i, v in enumerate(values))
        grads = torch.autograd.grad(total, of, allow_unused=True)
        found.append((values, [torch.zeros(()) if g is None else g for g in grads]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(list(a), list(b), atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_what_a_model_sees_is_that_of_the_loops(steps):
    model = made(settings=dataclasses.replace(SMALL, steps=steps))
    keys, before = rand(1, 2, 2, 3, 5).requires_grad_(), rand(1, 2, 3, 5, seed=4)
    noise = rand(1, 2, 3, 2, 5, seed=5)

    def fast():
        seen = model(keys, before, noise)
        return [getattr(seen, f.name) for f in dataclasses.fields(seen)] + [seen.masks]

    def slow():
        x = ((torch.cat((before[:, None], keys), 1) - model.mean) / model.scale).flatten(2, 3)[0]
        frames = [plain.see(model, x[i + 1], x[i], noise[0, i]) for i in range(2)]
        parts = [torch.stack(part)[None] for part in zip(*frames, strict=True)]
        return [*parts, torch.stack([plain.masks(f[1], f[3]) for f in frames])[None]]

    held_together(fast, slow, keys, *model.parameters())


def test_the_plan_of_a_transport_is_that_of_the_loops():
    cost = 1 - rand(4, 3).clamp(-1, 1)
    rows, columns = (rand(n, seed=n).abs() + 0.1 for n in (4, 3))
    rows, columns = rows / rows.sum(), columns / columns.sum()
    found = sinkhorn(-cost.T, 0.05, 3, rows=columns, columns=rows).T
    slow = plain.plan(cost.tolist(), rows.tolist(), columns.tolist(), 0.05, 3)
    torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64))
    torch.testing.assert_close(found.sum(0), columns)
    long = sinkhorn(-cost, 0.5, 500, rows=rows, columns=columns)
    torch.testing.assert_close(long.sum(0), columns)
    torch.testing.assert_close(long.sum(1), rows)


def test_the_loss_of_what_corresponds_is_that_of_the_loops():
    logits, taught = rand(2, 3, 3, 4).requires_grad_(), rand(2, 3, 3, 4, seed=1).requires_grad_()
    of = logits, taught, rand(2, 3, 4, 5, seed=2), 0.05, 3
    held_together(
        lambda: [losses.correspondence(*of)], lambda: [plain.correspondence(*of)], logits, taught
    )


def test_semantics_that_go_with_what_moves_cost_less_than_those_that_stay():
    f = torch.eye(6, dtype=torch.float64)[None]
    f = torch.stack([f[0].roll(t, 0) for t in range(3)])[None]  # six patches, all unlike
    said = 8 * torch.eye(6, dtype=torch.float64).view(1, 1, 6, 6).repeat(1, 3, 1, 1)
    moving = torch.stack([said[0, 0].roll(t, 1) for t in range(3)])[None]
    stays = losses.correspondence(said, said, f, 0.05, 3)
    assert float(losses.correspondence(moving, moving, f, 0.05, 3)) < 0.02 < 1 < float(stays)


def test_the_loss_of_separation_is_that_of_the_loops():
    logits = rand(2, 2, 3, 4).requires_grad_()
    held_together(lambda: [losses.separation(logits)], lambda: [plain.separation(logits)], logits)
    one = 50 * torch.eye(3, dtype=torch.float64)[None, None]
    assert float(losses.separation(one)) < 1e-6
    assert float(losses.separation(0 * one)) == pytest.approx(1.0)


def seen(seed: int, p: int = 3) -> Described:
    """What a model may see: two clips of two frames, two semantics, four patches."""
    s = 10 * seed
    objects = torch.nn.functional.normalize(rand(2, 2, 2, p, 5, seed=s + 5), dim=-1)
    shapes = (2, 2, 2, 5), (2, 2, 2, 4), (2, 2, 2, p, 5), (2, 2, 2, p, 4)
    return Described(*(rand(*x, seed=s + i) for i, x in enumerate(shapes)), objects)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_loss_of_instances_is_that_of_the_loops(p):
    one, other = seen(1, p), seen(2, p)
    counts = losses.valid(one, EASY)
    assert 0 < counts.double().mean() < 1
    for v in range(2):
        for t in range(2):
            of = one.semantics[v, t], one.logits[v, t], one.instances[v, t]
            assert torch.equal(counts[v, t], plain.valid(*of, EASY))
    of = one.objects.requires_grad_(), other.objects.requires_grad_()
    held_together(
        lambda: [losses.instances(one, other, EASY)],
        lambda: [plain.instances(one, other, EASY)],
        *of,
    )
    none = dataclasses.replace(EASY, area=1.0)
    assert losses.instances(one, other, none).item() == 0


def test_matching_is_one_to_one_and_the_best():
    near = rand(2, 3, 4, 4)
    own = matched(near)
    assert own.shape == (2, 3, 4) and own.sort(-1).values.equal(torch.arange(4).expand(2, 3, 4))
    best = near.take_along_dim(own[..., None], -1).sum((-1, -2))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]):
        assert (best >= near[..., range(4), order].sum(-1)).all()


def test_the_teacher_follows_and_is_not_trained():
    pair = Taught(made())
    before = [p.clone() for p in pair.teacher.parameters()]
    pair.follow(0.9)
    for p, old in zip(pair.teacher.parameters(), before, strict=True):
        assert torch.equal(p, old) and not p.requires_grad  # both say the same: nothing to follow
    with torch.no_grad():
        for p in pair.student.parameters():
            p += 1
    pair.follow(0.9)
    for p, old in zip(pair.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(p, old + 0.1)


def test_a_step_moves_the_student_alone(tmp_path):
    keys = torch.cat([torch.zeros(1, 4, 1, 5), rand(1, 4, 6, 5)], 2).float()
    save_file({"keys": keys}, tmp_path / "0.safetensors")
    clip = ClipFeatures(
        TrainingClip(tmp_path / "0", "0"), tmp_path / "0.safetensors", (2, 3), ((0, 1, 2, 3),)
    )
    method = SmtcMethod(SmtcRecipe(batch=1, lr=1e-2, precision="fp32", momentum=0.5, model=SMALL))
    pair = method.new([clip])
    first = [p.clone() for p in pair.teacher.parameters()]
    assert torch.equal(pair.teacher.mean, pair.student.mean) and pair.student.mean.abs().min() > 0
    optimiser, fabric = make_optimiser(pair, *method.rates(0)), Fabric(accelerator="cpu")
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len(first)
    take_step(pair, optimiser, method, [clip], 0, fabric)
    student = [p.detach().clone() for p in pair.student.parameters()]
    for p, old in zip(pair.teacher.parameters(), first, strict=True):
        assert torch.equal(p, old)
    assert any(not torch.equal(p, old) for p, old in zip(student, first, strict=True))
    take_step(pair, optimiser, method, [clip], 1, fabric)
    for p, old, new in zip(pair.teacher.parameters(), first, student, strict=True):
        torch.testing.assert_close(p, (old + new) / 2)


def masks_of(model: SmtcModel, keys: torch.Tensor) -> torch.Tensor:
    return Carrier(model).add(keys)


def test_masks_sum_to_one_and_slots_permuted_permute_them():
    model, keys, order = made(), rand(4, 2, 3, 5), torch.tensor([2, 0, 1])
    noise = rand(1, 4, 3, 2, 5, seed=5)
    first = model(keys[None], keys[None, 0], noise).masks
    torch.testing.assert_close(first.sum((2, 3)), torch.ones(1, 4, 6, dtype=torch.float64))
    swapped = model(keys[None], keys[None, 0], noise.flip(3)).masks
    torch.testing.assert_close(swapped, first.flip(3))
    with torch.no_grad():
        model.mean_slots.copy_(model.mean_slots[order])
        model.log_std.copy_(model.log_std[order])
    found = model(keys[None], keys[None, 0], noise[:, :, order]).masks
    torch.testing.assert_close(found, first[:, :, order])


def test_chunks_change_nothing():
    model, keys = made(), rand(7, 2, 3, 5)
    whole = Carrier(model)
    want = torch.cat([whole.add(keys), whole.flush()])
    assert want.shape == (7, 6, 2, 3) and whole.delay == 0
    for cuts in ([1] * 7, [2, 5], [6, 1]):
        carrier = Carrier(model)
        parts = [carrier.add(part) for part in keys.split(cuts)]
        torch.testing.assert_close(torch.cat([*parts, carrier.flush()]), want)
    assert Carrier(model).add(keys[:0]).shape == (0, 6, 2, 3)


def test_instances_keep_their_ids_among_those_of_their_kind():
    """Objects come back in another order in the second frame: masks are in that of the first."""
    model = made()
    of = torch.nn.functional.normalize(rand(1, 3, 2, 5), dim=-1)
    frames = torch.stack((of, of.flip(2)), 1)
    within = rand(1, 1, 3, 2, 6).expand(1, 2, -1, -1, -1).clone()
    within[:, 1] = within[:, 1].flip(2)
    logits = rand(1, 1, 3, 6, seed=2).expand(1, 2, -1, -1)
    told = Described(rand(1, 2, 3, 5), logits, rand(1, 2, 3, 2, 5), within, frames)
    model.forward = lambda *given: told
    found = Carrier(model).add(rand(2, 2, 3, 5))
    assert torch.equal(found[0], found[1])


def test_a_model_comes_back_from_its_file(tmp_path):
    model = made().float()
    save_model(model, tmp_path / "m.safetensors", method="smtc", backbone="b", size=[28, 42])
    about = model_metadata(tmp_path / "m.safetensors")
    assert (about["kind"], about["model"]["semantics"]) == ("smtc", 3)
    again, keys = load_model(tmp_path / "m.safetensors", 5), torch.randn(2, 2, 3, 5)
    assert isinstance(again, SmtcModel) and again.settings == SMALL
    assert torch.equal(masks_of(again, keys), masks_of(model, keys))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"semantics": 64}, "semantics x instances must be at most 255, got 256"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"instances": "many"}, "instances: expected a whole number, got 'many'"),
    ],
)
def test_settings_that_make_no_model(wrong, said, untyped):
    with pytest.raises(WeightsError, match=said):
        SmtcSettings(**wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gap = 0", "gap must be at least 1, got 0"),
        ("max_gap = 3", "no such entry 'max_gap'"),
        ("momentum = 1.0", r"momentum must lie in 0 … 1, got 1\.0"),
        ("[model]\nslots = 3", r"\[model\]: no such entry 'slots'"),
        ("[losses]\niterations = 0", "iterations must be positive"),
        ("[losses]\ncorrespondence = 0.0\nseparation = 0.0\ninstances = 0.0", "nothing to train"),
        ("[model]\nsemantics = 0", "semantics must be at least 1"),
    ],
)
def test_recipes_that_make_no_sense(text, said, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(f'trains = "smtc"\n{text}')
    with pytest.raises(TrainingError, match=said):
        read_recipe(file, SmtcRecipe)


def test_the_shipped_recipe_has_the_published_constants():
    recipe = read_recipe(CONFIGS / "smtc.toml", SmtcRecipe)
    assert recipe == SmtcRecipe(), "the recipe's defaults are those of the code"
    assert (recipe.batch, recipe.lr, recipe.min_gap, recipe.max_gap) == (128, 2e-5, 4, 4)
    method = SmtcMethod(recipe)
    assert method.rates(0) == pytest.approx((2e-5, 0.1))
    assert method.rates(recipe.steps) == pytest.approx((2e-6, 0.1))
    with pytest.raises(TrainingError, match='says trains = "smtc"'):
        read_recipe(CONFIGS / "solv.toml", SmtcRecipe)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"))


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_at_the_same_bits(videos, tiny_backbone, tmp_path):
    run = {"steps": 4, "batch": 2, "windows": 2, "checkpoint_every": 1, "try_every": 2}
    recipe = SmtcRecipe(
        "tiny", tiny_backbone, (16, 20), validation=1, lr=1e-2, momentum=0.5, model=SMALL, **run
    )
    cache = Cache(tmp_path / "cache", 10**9)
    whole_and_stopped(videos, SmtcMethod(recipe), cache, tmp_path)
    states = [
        torch.load(folder / "checkpoint.pt", weights_only=True)["module"]
        for folder in (tmp_path / "whole", tmp_path / "stopped")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    student, teacher = (states[0][f"{who}.mean_slots"] for who in ("student", "teacher"))
    assert not torch.equal(student, teacher)


@pytest.mark.slow
def test_the_commands_train_segment_and_score(videos, tiny_backbone, tmp_path):
    recipe, out = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(
        f'trains = "smtc"\nmethod = "tiny"\nbackbone = "{tiny_backbone}"\nsize = [16, 20]\n'
        "windows = 2\nsteps = 2\nbatch = 2\nvalidation = 1\n"
        "[model]\nsemantics = 3\ninstances = 2\n"
    )
    line = [str(videos), "--recipe", str(recipe), "--cache", str(tmp_path / "cache")]
    assert main(["train", *line, "--out", str(out), "--accelerator", "cpu"]) == 0
    model = out / "model.safetensors"
    about = model_metadata(model)
    assert (about["method"], about["steps"], about["size"]) == ("tiny", 2, [16, 20])
    steps = [r for r in read_log(out) if r["kind"] == "step"]
    assert [r["correspondence"] > 0 and r["separation"] > 0 for r in steps] == [True, True]
    assert all(r["instances"] >= 0 for r in steps)
    found = tmp_path / "out"
    assert main(["segment", str(videos / "clip0"), "-o", str(found), "--model", str(model)]) == 0
    with Image.open(found / "masks" / "000.png") as mask:
        labels = np.array(mask)
    assert labels.shape == (24, 36) and labels.min() >= 1, "every pixel is of a slot"
    stream = Segmenter(model=model).stream([np.zeros((2, 24, 36, 3), np.uint8)])
    assert np.concatenate([labels for _, labels in stream]).shape == (2, 24, 36)
