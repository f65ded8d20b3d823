"""Training slot models as a person runs it, and using what came of it; losses against loops."""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file

import unveil
from training_runs import whole_and_stopped, write_clips
from unveil.batch.workers import Workers
from unveil.cli import main
from unveil.errors import InputError, TrainingError
from unveil.segmentation import refine
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.slots.carry import Carrier
from unveil.slots.model_file import load_model, model_metadata
from unveil.slots.settings import SlotSettings
from unveil.training.clips import TrainingClip, find_clips
from unveil.training.features import Cache, ClipFeatures
from unveil.training.features_method import spread_windows
from unveil.training.features_monitor import FeatureMonitor
from unveil.training.loop import train
from unveil.training.monitor import read_log
from unveil.training.recipe import read_recipe
from unveil.training.sampling import Sample, generator
from unveil.training.slots_losses import (
    SlotLossSettings,
    reconstruction,
    slot_contrast,
    temporal_similarity,
)
from unveil.training.slots_method import SlotMethod, merging
from unveil.training.slots_recipe import SlotRecipe
from unveil.training.watcher import Watcher

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = {"slots": 3, "width": 8, "decoder_width": 16, "decoder_layers": 1}
MODELS = {
    "videosaur": (SlotSettings(**SMALL), SlotLossSettings()),
    "slotcontrast": (
        SlotSettings(**SMALL, start="learned", mlp=8, similarity=False),
        SlotLossSettings(similarity=0.0, contrast=0.5),
    ),
    "steve": (
        SlotSettings(
            **SMALL, mlp=8, mlp_last=False, hidden="raw", dropout=0.1, decoder="autoregressive",
            similarity=False,
        ),
        SlotLossSettings(similarity=0.0),
    ),
    "solv": (
        SlotSettings(
            **SMALL, start="learned", mlp=8, time="window", around=1, attention="invariant",
            hidden="raw", dropout=0.1, decoder="broadcast", similarity=False, merge=0.12,
        ),
        SlotLossSettings(similarity=0.0),
    ),
}  # fmt: skip


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(fast, slow, *inputs: torch.Tensor) -> None:
    """Two ways to the same number, held together with their gradients."""
    given = [x.clone().requires_grad_() for x in inputs]
    values = [way(*given) for way in (fast, slow)]
    grads = [torch.autograd.grad(value, given[0]) for value in values]
    torch.testing.assert_close(values[0], values[1], atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-12, rtol=1e-10)


def test_the_similarity_loss_is_that_of_the_loops():
    def slow(logits, keys):
        b, t, n, _ = keys.shape
        total, count = 0.0, 0
        for v in range(b):
            for f in range(t - 1):
                for i in range(n):
                    a = keys[v, f, i].detach()
                    near = [float(a @ c / (a.norm() * c.norm())) for c in keys[v, f + 1].detach()]
                    if all(x < 0 for x in near):
                        weight = [1.0] * n
                    else:
                        weight = [math.exp(x / 0.2) if x >= 0 else 0.0 for x in near]
                    e = [torch.exp(x) for x in logits[v, f, i]]
                    for j in range(n):
                        total = total - weight[j] / sum(weight) * torch.log(e[j] / sum(e))
                    count += 1
        return total / count

    keys = rand(2, 3, 4, 5, seed=1)
    keys[0, 0, 1] = -keys[0, 1].sum(0)  # may be far from all: then all count
    same(lambda x, k: temporal_similarity(x, k, 0.2), slow, rand(2, 2, 4, 4), keys)


def test_where_no_patch_is_near_all_count():
    keys = torch.zeros(1, 2, 3, 3)
    keys[0, 0, :, 0], keys[0, 1, :, 0] = 1, -1
    even = temporal_similarity(torch.zeros(1, 1, 3, 3), keys, 0.1)
    assert float(even) == pytest.approx(math.log(3))
    assert float(temporal_similarity(10 * torch.eye(3)[None, None], keys, 0.1)) > float(even)


def test_the_contrast_of_slots_is_that_of_the_loops():
    def slow(slots):
        b, t, k, _ = slots.shape
        total = 0.0
        for v in range(b):
            for f in range(t - 1):
                for i in range(k):
                    a = slots[v, f, i]
                    others = [slots[u, f + 1, j] for u in range(b) for j in range(k)]
                    e = [torch.exp(a @ c / (a.norm() * c.norm()) / 0.1) for c in others]
                    total = total - torch.log(e[v * k + i] / sum(e))
        return total / (b * (t - 1) * k)

    same(lambda s: slot_contrast(s, 0.1), slow, rand(2, 3, 4, 5))


def test_reconstruction_is_a_mean_over_all():
    a, b = rand(1, 2, 3, 4), rand(1, 2, 3, 4, seed=1)
    assert float(reconstruction(a, b)) == pytest.approx(float(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"), 10**9)


def recipe_of(name: str, backbone: str) -> SlotRecipe:
    model, losses = MODELS[name]
    frames = 3 if model.time == "window" else 4
    run = {"steps": 4, "batch": 2, "windows": 2, "checkpoint_every": 1, "try_every": 2}
    return SlotRecipe(
        name, backbone, (16, 20), frames, validation=1, lr=1e-2, model=model, losses=losses, **run
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_run_that_was_stopped_ends_at_the_same_bits(name, videos, cache, tiny_backbone, tmp_path):
    method = SlotMethod(recipe_of(name, tiny_backbone))
    a = whole_and_stopped(videos, method, cache, tmp_path)
    start = method.new([c for c in _features(videos, method, cache)]).state_dict()
    assert not torch.equal(a["first"], start["first"].to(a["first"]))


def _features(videos: Path, method: SlotMethod, cache: Cache) -> list:
    return [cache.get(c, method.recipe, lambda: None) for c in find_clips(videos)]


@pytest.mark.parametrize("name", ["slotcontrast", "videosaur"])
def test_a_trial_is_a_mean_over_windows_of_clips_held_out(
    name, videos, cache, tiny_backbone, tmp_path
):
    recipe = replace(recipe_of(name, tiny_backbone), windows=5, validation_windows=3)
    method = SlotMethod(replace(recipe, precision="fp32"))
    data = method.prepare(videos, Fabric(accelerator="cpu"), cache, Watcher(), Workers())
    held = data.train[:2]
    module = method.new(data.train)

    def alone(clip, window):
        own = generator(recipe.seed, "held", clip.clip.digest, window)
        losses = method.losses(module, [Sample(clip, window, own)], torch.device("cpu"))
        return float(losses["reconstruction"])

    with torch.no_grad():
        want = [alone(clip, i) for clip in held for i in spread_windows(clip, 3)]
    assert len(set(want)) > 3
    found = FeatureMonitor(tmp_path, method).trial(0, module, held)
    assert found["reconstruction"] == pytest.approx(sum(want) / 6, rel=1e-5)
    assert found["windows"] == 3


def test_slots_are_merged_more_often_from_epoch_to_epoch():
    """As in SOLV's code: with log(e + 1) / log(180) in epoch e of 180."""
    for epoch, share in ((0, 0), (17, math.log(18) / math.log(180)), (179, 1)):
        for within in (0.1, 0.9):
            assert merging((epoch + within) / 180) == pytest.approx(share)
    assert merging(1.0) == 1


def test_slots_are_merged_as_often_as_the_step_says(videos, cache, tiny_backbone, monkeypatch):
    recipe = replace(recipe_of("solv", tiny_backbone), precision="fp32", steps=180, batch=4)
    method, asked = SlotMethod(recipe), []
    clips = _features(videos, method, cache)
    module = method.new(clips)
    monkeypatch.setattr(
        "unveil.slots.model.alike", lambda x, _: asked.append(1) or torch.arange(len(x))
    )

    def merged(samples) -> int:
        asked.clear()
        method.losses(module, samples, torch.device("cpu"))
        return len(asked)

    assert merged(method.draw(clips, 0)) == 0
    assert merged(method.draw(clips, 179)) == 4
    early = sum(merged(method.draw(clips, step)) for step in range(1, 5))
    late = sum(merged(method.draw(clips, step)) for step in range(100, 104))
    assert 0 < early < late
    held = [Sample(c, 0, generator(0)) for c in clips[:2]]
    assert merged(held) == 2, "what is not trained on is always merged"


def test_windows_of_a_trial_are_spread_over_the_clip():
    starts = [9, 2, 5, 0, 7, 3, 8]
    frames = tuple((i, i + 1) for i in starts)
    clip = ClipFeatures(TrainingClip(Path(), ""), Path(), (1, 1), frames)
    assert [starts[i] for i in spread_windows(clip, 3)] == [0, 5, 9]
    assert sorted(spread_windows(clip, 8)) == list(range(7)), "no more than there are"
    assert spread_windows(clip, 1) == [3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slotcontrast", "videosaur", "steve"])
def test_trials_leave_what_is_learned_as_it_is(name, videos, cache, tiny_backbone, tmp_path):
    method = SlotMethod(replace(recipe_of(name, tiny_backbone), windows=5))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fabric = Fabric(accelerator="cpu", devices=1)

    def run(out: Path, watcher: FeatureMonitor) -> Path:
        with closing(watcher):
            return train(videos, method, out, fabric, cache, watcher)

    untried = train(videos, method, tmp_path / "untried", fabric, cache, Watcher())
    tried = run(whole, FeatureMonitor(whole, method))
    with pytest.raises(KeyboardInterrupt):
        run(stopped, Interrupted(stopped, method))
    again = run(stopped, FeatureMonitor(stopped, method))
    a, b, c = (load_file(file) for file in (untried, tried, again))
    assert all(torch.equal(a[key], b[key]) and torch.equal(b[key], c[key]) for key in a)
    trials = [[r for r in read_log(out) if r["kind"] == "trial"] for out in (whole, stopped)]
    assert trials[0] == trials[1] and [r["step"] for r in trials[0]] == [0, 2, 4]
    assert all(r["windows"] == 5 for r in trials[0])


class Interrupted(FeatureMonitor):
    """Ends a run after its third step."""

    def stepped(self, record) -> None:
        super().stepped(record)
        if record.step == 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def recipe_file(tiny_backbone, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "slots.toml"
    file.write_text(
        f'trains = "slots"\nmethod = "tiny"\nbackbone = "{tiny_backbone}"\nsize = [16, 20]\n'
        "frames = 4\nwindows = 2\nsteps = 4\nbatch = 2\nlr = 1e-2\nvalidation = 1\ntry_every = 2\n"
        "keep = [0]\n[model]\nslots = 3\nwidth = 8\ndecoder_width = 16\n"
    )
    return file


@pytest.fixture(scope="module")
def run(videos, recipe_file, cache, tmp_path_factory) -> Path:
    """The folder of a run at the shell."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    line = [str(videos), "--recipe", str(recipe_file), "--cache", str(cache.folder)]
    assert main(["train", *line, "--out", str(out), "--accelerator", "cpu"]) == 0
    return out


def test_the_command_leaves_a_model_a_log_and_a_report(run, tiny_backbone):
    about = model_metadata(run / "model.safetensors")
    assert (about["method"], about["backbone"], about["steps"]) == ("tiny", tiny_backbone, 4)
    assert (about["size"], about["grid"], about["clips"]) == ([16, 20], [4, 5], 3)
    assert model_metadata(run / "model-0.safetensors")["steps"] == 0
    records = read_log(run)
    steps = [r for r in records if r["kind"] == "step"]
    assert [r["step"] for r in steps] == [1, 2, 3, 4]
    assert all(r["similarity"] > 0 and r["reconstruction"] > 0 for r in steps)
    assert all(r["cpu_seconds"] > 0 for r in steps)
    trials = [r for r in records if r["kind"] == "trial"]
    assert [(r["step"], r["windows"]) for r in trials] == [(0, 2), (2, 2), (4, 2)]
    with Image.open(run / "report.png") as report:
        assert report.width > 500


def test_a_model_segments_a_video_at_the_shell(run, videos, tmp_path, capsys):
    out = tmp_path / "out"
    model = str(run / "model.safetensors")
    assert main(["segment", str(videos / "clip0"), "--out", str(out), "--model", model]) == 0
    with Image.open(out / "masks" / "000.png") as mask:
        labels = np.array(mask)
    assert labels.shape == (24, 36) and labels.min() >= 1, "every pixel is of a slot"
    wrong = ["--model", model, "--objects", "3"]
    assert main(["segment", str(videos / "clip0"), "--out", str(out), *wrong]) == 2
    assert "objects means nothing with a model" in capsys.readouterr().err


def test_masks_are_those_of_the_model_upsampled(run, videos):
    segmenter = Segmenter(model=run / "model.safetensors", chunk=3)
    clip = unveil.read_clip(videos / "clip1")
    found = segmenter(clip)
    keys = segmenter.backbone.encode(clip.frames, (16, 20)).keys
    masks = Carrier(load_model(run / "model.safetensors")).add(keys).numpy()
    want = refine.upsample(masks, 24, 36)
    kept = np.unique(masks.argmax(1)) + 1  # slots that win no patch are no objects
    assert len(found) == len(kept)
    for slot in kept:  # is one id, wherever no slot that was left out has a pixel
        ids = found.labels[(want == slot)]
        assert (ids == np.bincount(ids).argmax()).mean() > 0.99
    settings = found.run["settings"]
    assert tuple(settings["size"]) == (16, 20) and "attention" not in settings


def test_a_stream_is_the_whole_in_pieces(run, videos):
    segmenter = Segmenter(model=run / "model.safetensors")
    frames = unveil.read_clip(videos / "clip1").frames
    parts = [list(segmenter.stream(frames.copy() for frames in [frames[:2], frames[2:]]))]
    one = np.concatenate([labels for _, labels in parts[0]])
    keys = segmenter.backbone.encode(frames, (16, 20)).keys
    masks = Carrier(load_model(run / "model.safetensors")).add(keys).numpy()
    assert (one == refine.upsample(masks, 24, 36)).mean() > 0.999


def test_a_recurrent_model_labels_each_frame_before_the_next_one_comes(run, videos):
    segmenter = Segmenter(model=run / "model.safetensors")
    given = []

    def camera():
        for frame in unveil.read_clip(videos / "clip1").frames:
            given.append(frame)
            yield frame

    late = [len(given) - i for i, _ in enumerate(segmenter.stream(camera()), 1)]
    assert late and not any(late)


def test_upsampling_is_bilinear_then_the_highest():
    masks = np.zeros((1, 2, 1, 2), np.float32)
    masks[0, 0], masks[0, 1] = [[1.0, 0.4]], [[0.0, 0.6]]
    # Along the row mask 0 goes from 1 to .4 between the middles of both patches: it ends at .5.
    assert refine.upsample(masks, 1, 8)[0, 0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2]


def test_another_backbone_or_size_than_the_model_s_is_said(run):
    model = run / "model.safetensors"
    with pytest.raises(InputError, match="size 480 was asked for"):
        Segmenter(model=model, size=480)
    with pytest.raises(InputError, match="backbone dino-small-8 was asked for"):
        Segmenter(model=model, backbone="dino-small-8")
    with pytest.raises(InputError, match="a model means nothing in paper mode"):
        Settings(model=model, mode="paper")


def test_kmeans_is_a_mode(videos, tiny_backbone, tmp_path):
    options = ["--mode", "kmeans", "--objects", "3", "--backbone", tiny_backbone, "--size", "24"]
    out = tmp_path / "out"
    assert main(["segment", str(videos / "clip0"), "--out", str(out), *options]) == 0
    with Image.open(out / "masks" / "000.png") as mask:
        labels = np.array(mask)
    assert set(np.unique(labels)) <= {1, 2, 3} and labels.min() >= 1
    found = Segmenter(mode="kmeans", backbone=tiny_backbone, size=24)(videos / "clip0")
    assert len(found) == 7 and found.run["settings"]["objects"] == 7
    with pytest.raises(InputError, match="in kmeans mode: leave it out, or set the mode to paper"):
        Settings(mode="kmeans", tau=1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size = 224", "size: expected 2 values, each a whole number, got 224"),
        ("[model]\nslot = 3", r"\[model\]: no such entry 'slot'"),
        ("[model]\nsimilarity = false", "go together"),
        ("[losses]\ncontrast_temperature = 0.0", "contrast_temperature must be positive"),
        ('[model]\ntime = "window"\nsimilarity = false\n[losses]\nsimilarity = 0', "frames = 5"),
        ("[losses]\nreconstruction = 0.0\nsimilarity = 0.0", "nothing to train for"),
        ("[model]\nwidth = 6", "no multiple of 4 heads"),
        ("frames = 1", "at least 2 frames"),
        ("validation_windows = 0", "validation_windows must be positive"),
        ("validation = -1", "validation is 0 or more clips, got -1"),
    ],
)
def test_recipes_that_make_no_sense(text, said, untyped, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(f'trains = "slots"\n{text}')
    with pytest.raises(TrainingError, match=said):
        read_recipe(file, SlotRecipe)


def test_shipped_recipes_have_the_published_constants():
    saur, contrast, solv, steve = (
        read_recipe(CONFIGS / f"{n}.toml", SlotRecipe)
        for n in ("videosaur", "slotcontrast", "solv", "steve")
    )
    assert saur.model == SlotSettings() and saur.losses == SlotLossSettings()
    assert (saur.batch, saur.steps, saur.most_gradient) == (64, 100_000, 0.05)
    assert (contrast.model.start, contrast.losses.contrast) == ("learned", 0.5)
    assert (solv.model.merge, solv.model.slots, solv.frames, solv.size) == (0.12, 8, 5, (336, 504))
    assert (steve.model.decoder, steve.model.decoder_layers) == ("autoregressive", 8)
    assert (steve.batch, steve.frames, steve.model.hidden) == (24, 3, "raw")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"size": 224}, "size: expected 2 values, each a whole number, got 224"),
        ({"steps": "many"}, "steps: expected a whole number, got 'many'"),
        ({"lr": True}, "lr: expected a number, got True"),
        ({"augment": "released"}, "augment is flip or photometric"),
    ],
)
def test_a_recipe_of_slots_says_what_it_expects(wrong, says, untyped):
    with pytest.raises(TrainingError, match=says):
        SlotRecipe(**wrong)
