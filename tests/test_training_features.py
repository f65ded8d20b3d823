"""Clips, their windows, the augmentation and the cache of features."""

import colorsys
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from transformers import AutoModel

from conftest import make_tiny_backbone
from unveil.errors import InputError, TrainingError
from unveil.features.backbone import Backbone
from unveil.training import augment, features
from unveil.training.augment import Augmentation
from unveil.training.clips import TrainingClip, count_frames, draw_windows, find_clips, read_frames
from unveil.training.features import Cache, ClipFeatures
from unveil.training.lease import Lease, leased
from unveil.training.recipe import Recipe
from unveil.training.sampling import cosine, draw_batch, hold_out
from unveil.training.slots_recipe import SlotRecipe


def frames(folder: Path, count: int = 7, seed: int = 0, size: tuple[int, int] = (18, 26)) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> TrainingClip:
    frames(tmp_path / "videos" / "one")
    return find_clips(tmp_path / "videos")[0]


@pytest.fixture
def recipe(tiny_backbone: str) -> Recipe:
    return Recipe(backbone=tiny_backbone, heads=2, size=16, windows=3)


def no_backbone() -> Backbone:
    raise AssertionError("nothing had to be computed")


def test_clips_are_found_once_and_known_by_content(tmp_path, caplog):
    frames(tmp_path / "b", seed=1)
    frames(tmp_path / "a", seed=2)
    frames(tmp_path / "copy_of_b", seed=1)
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no clip")
    found = find_clips(tmp_path)
    assert [c.name for c in found] == ["a", "b"]
    assert "copy_of_b holds the same as b; used once" in caplog.text
    (tmp_path / "b").rename(tmp_path / "z")
    assert find_clips(tmp_path)[1].digest == found[1].digest


def test_a_folder_of_images_is_one_clip(tmp_path):
    assert [c.name for c in find_clips(frames(tmp_path / "only"))] == ["only"]


def test_windows_lie_in_the_clip_and_follow_the_seed(clip):
    windows = draw_windows(clip, 7, 3, 4, 40, seed=5)
    for window in windows:
        a, b, c = window.frames
        assert 0 <= a < b < c < 7
        assert max(b - a, c - b) <= 3, "a gap of 4 leaves no room for a second one of 4"
    assert len({w.frames for w in windows}) > 10
    assert windows == draw_windows(clip, 7, 3, 4, 40, seed=5)
    assert windows != draw_windows(clip, 7, 3, 4, 40, seed=6)
    assert draw_windows(clip, 3, 3, 4, 1, seed=0)[0].frames == (0, 1, 2)
    with pytest.raises(InputError, match="one has 2 frames, fewer than a window of 3"):
        draw_windows(clip, 2, 3, 4, 1, seed=0)


def test_a_smallest_gap_is_kept_where_there_is_room(clip):
    for window in draw_windows(clip, 30, 3, 4, 20, seed=5, min_gap=4):
        assert np.diff(window.frames).tolist() == [4, 4]
    for window in draw_windows(clip, 6, 3, 4, 20, seed=5, min_gap=4):
        assert np.diff(window.frames).tolist() == [2, 2], "a clip too short for two gaps of 4"


def test_frames_are_read_by_index(clip):
    assert count_frames(clip) == 7
    read = read_frames(clip, [5, 2, 2])
    assert sorted(read) == [2, 5]
    assert np.array_equal(read[5], np.asarray(Image.open(clip.path / "05.png")))
    with pytest.raises(InputError, match="changed while it was being read"):
        read_frames(clip, [3, 7])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("gray", ["never", "first", "last"])
def test_an_augmentation_is_what_its_definition_says_step_by_step(order, gray):
    def luma(x: np.ndarray) -> np.ndarray:
        return (x @ [0.299, 0.587, 0.114])[..., None] + np.zeros(3)

    def turned(x: np.ndarray) -> np.ndarray:
        hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3)]
        rgb = [colorsys.hsv_to_rgb((h + 0.07) % 1, s, v) for h, s, v in hsv]
        return np.reshape(rgb, x.shape)

    frame = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    steps = (
        lambda x: x * 1.3,
        lambda x: luma(x).mean() + 0.7 * (x - luma(x).mean()),
        lambda x: luma(x) + 1.2 * (x - luma(x)),
        turned,
    )
    want = frame / 255
    if gray == "first":
        want = luma(want)
    for what in order:
        want = np.clip(steps[what](want), 0, 1)
    if gray == "last":
        want = luma(want)
    want = gaussian_filter(want, (1.1, 1.1, 0), mode="nearest", radius=(3, 3, 0))
    change = Augmentation(
        (1.3, 0.7, 1.2), 0.07, order, gray != "never", 1.1, gray_first=gray == "first"
    )
    got = change(torch.from_numpy(frame).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(got - want * 255).max() <= 0.51, "no more than rounding"


def test_an_augmentation_treats_every_frame_alike():
    change = Augmentation((1.3, 0.7, 1.2), 0.05, (3, 1, 0, 2), False, 1.1)
    x = torch.randint(0, 256, (3, 3, 11, 13), dtype=torch.uint8)
    assert torch.equal(change(x)[1:2], change(x[1:2]))
    assert torch.equal(Augmentation()(x), x)
    gray = replace(Augmentation(), gray=True)(x)
    assert torch.equal(gray[:, 0], gray[:, 1]) and torch.equal(gray[:, 1], gray[:, 2])
    flat = torch.full((1, 3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(replace(Augmentation(), sigma=2.0)(flat), flat)


def test_augmentations_are_drawn_as_published():
    g = torch.Generator().manual_seed(0)
    drawn = [augment.draw(g, torch.Generator()) for _ in range(2000)]
    assert abs(np.mean([d.gray for d in drawn]) - 0.2) < 0.03
    assert abs(np.mean([d.factors != (1, 1, 1) for d in drawn]) - 0.8) < 0.03
    assert abs(np.mean([d.sigma > 0 for d in drawn]) - 0.5) < 0.04
    assert all(0.6 <= f <= 1.4 for d in drawn for f in d.factors)
    assert all(abs(d.hue) <= 0.1 and d.sigma <= 2 for d in drawn)


def test_the_released_order_is_gray_jitter_blur_with_one_strength_a_run(clip):
    windows = draw_windows(clip, 30, 3, 4, 60, seed=5, augment="released")
    drawn = [window.augmentation for window in windows]
    strengths = {d.sigma for d in drawn}
    assert len(strengths) == 2 and min(strengths) == 0 < max(strengths) <= 2
    other = draw_windows(clip, 30, 3, 4, 60, seed=6, augment="released")
    assert {w.augmentation.sigma for w in other}.isdisjoint(strengths - {0.0})
    usual = [w.augmentation for w in draw_windows(clip, 30, 3, 4, 60, seed=5)]
    assert [d.factors for d in drawn] == [d.factors for d in usual]
    assert [d.gray for d in drawn] == [d.gray for d in usual]
    x = torch.randint(0, 256, (2, 3, 11, 13), dtype=torch.uint8)
    jitter = Augmentation((1.3, 0.7, 1.2), 0.05, (3, 1, 0, 2))
    both = replace(jitter, gray=True, gray_first=True)
    apart = jitter(replace(Augmentation(), gray=True)(x)).int()
    assert (both(x).int() - apart).abs().max() <= 1  # rounded once less
    assert not torch.equal(both(x), replace(both, gray_first=False)(x))


def test_the_class_token_s_output_is_that_of_transformers(tiny_backbone):
    backbone = Backbone(tiny_backbone, "cpu", torch.float32)
    pixels = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    found = backbone.encode_with_cls(pixels, "output")
    whole = AutoModel.from_pretrained(tiny_backbone).eval()
    with torch.no_grad():
        want = whole(pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(found[:, 0], want, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[:, 1:], backbone.encode_with_cls(pixels)[:, 1:])


def test_only_the_dinov2_design_has_an_output_of_its_class_token(tmp_path):
    backbone = Backbone(str(make_tiny_backbone(tmp_path / "vit", "vit")), "cpu", torch.float32)
    with pytest.raises(InputError, match=r"class_token output: .* leave it at key"):
        backbone.encode_with_cls(torch.zeros(1, 3, 16, 20), "output")


def test_features_are_computed_once_and_equal_those_of_the_frames(tmp_path, clip, recipe):
    backbone = Backbone(recipe.backbone, "cpu", torch.float32)
    cache = Cache(tmp_path / "cache", 10**9)
    found = cache.get(clip, recipe, lambda: backbone)
    assert (found.grid, found.count) == ((4, 5), 3)
    window = draw_windows(clip, 7, 3, 4, 3, recipe.seed)[1]
    assert found.frames[1] == window.frames
    read = read_frames(clip, window.frames)
    small = torch.stack([features.resize(read[i], 16, 20) for i in window.frames])
    pixels = backbone.prepare(window.augmentation(small).permute(0, 2, 3, 1).numpy(), 4, 5)
    assert torch.equal(found.window(1), backbone.encode_with_cls(pixels))
    plain = backbone.encode_pixels(pixels)[0]
    assert torch.equal(found.window(1)[:, 1:].unflatten(1, (4, 5)), plain)
    again = cache.get(clip, recipe, no_backbone)
    assert torch.equal(again.window(2), found.window(2))


def test_many_windows_see_each_picture_once_and_begin_with_the_few(tmp_path, clip, recipe):
    shown, backbone = [], Backbone(recipe.backbone, "cpu", torch.float32)
    encode = backbone.encode_with_cls

    def counted(pixels: torch.Tensor, token: str) -> torch.Tensor:
        shown.extend(pixels)
        return encode(pixels, token)

    backbone.encode_with_cls = counted
    flipped = SlotRecipe(backbone=recipe.backbone, size=(16, 20), frames=3)
    few, many = (replace(flipped, windows=n) for n in (3, 40))
    cache = Cache(tmp_path / "cache", 10**9)
    some, all_of_it = (cache.get(clip, r, lambda: backbone) for r in (few, many))
    assert all_of_it.frames[:3] == some.frames
    starts = {window[0] for window in all_of_it.frames}
    assert starts == set(range(5)), "a clip of seven frames has five windows of three"
    windows = draw_windows(clip, 7, 3, 1, 40, many.seed, "flip")
    pictures = [{(i, w.augmentation) for w in windows[:n] for i in w.frames} for n in (3, 40)]
    assert len(shown) == sum(map(len, pictures)) and len(pictures[1]) <= 14
    for index, window in enumerate(windows):
        read = read_frames(clip, window.frames, lambda frame: features.resize(frame, 16, 20))
        small = window.augmentation(torch.stack([read[i] for i in window.frames]))
        want = encode(backbone.prepare(small.permute(0, 2, 3, 1).numpy(), 4, 5))
        torch.testing.assert_close(all_of_it.window(index), want, atol=1e-5, rtol=1e-5)
    for index in range(3):
        torch.testing.assert_close(some.window(index), all_of_it.window(index), atol=1e-5, rtol=0)
    with safe_open(all_of_it.file, "pt") as file:
        assert len(file.get_slice("keys")[:]) == len(pictures[1]), "and it is kept once"


def test_files_that_hold_window_after_window_are_read(tmp_path, clip, recipe):
    """As 0.6.0 and before wrote them."""
    cache = Cache(tmp_path / "cache", 10**9)
    found = cache.get(clip, recipe, lambda: Backbone(recipe.backbone, "cpu", torch.float32))
    windows = torch.stack([found.window(i) for i in range(found.count)])
    about = {"grid": found.grid, "frames": found.frames, "clip": clip.name, "version": 1}
    save_file({"keys": windows}, found.file, metadata={"unveil": json.dumps(about)})
    again = cache.get(clip, recipe, no_backbone)
    assert (again.frames, again.rows) == (found.frames, ())
    assert all(torch.equal(again.window(i), windows[i]) for i in range(3))


@pytest.mark.parametrize("rows", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5], [6, 7, 9]]])
def test_a_file_whose_rows_do_not_fit_is_damaged(rows, tmp_path, clip, recipe, caplog):
    cache = Cache(tmp_path / "cache", 10**9)

    def backbone() -> Backbone:
        return Backbone(recipe.backbone, "cpu", torch.float32)

    found = cache.get(clip, recipe, backbone)
    want, about = found.window(2), {"grid": found.grid, "frames": found.frames, "rows": rows}
    keys = torch.zeros(9, *want.shape[1:])
    save_file({"keys": keys}, found.file, metadata={"unveil": json.dumps(about)})
    assert torch.equal(cache.get(clip, recipe, backbone).window(2), want)
    assert "is damaged" in caplog.text


def test_frames_are_kept_at_the_backbone_s_size_only(clip, recipe, monkeypatch):
    kept, read = [], features.read_frames
    monkeypatch.setattr(features, "read_frames", lambda *a: kept.append(read(*a)) or kept[0])
    windows = draw_windows(clip, 7, 3, 1, 5, 0, "flip")
    features.encode_windows(clip, windows, 16, Backbone(recipe.backbone, "cpu", torch.float32))
    assert {tuple(frame.shape) for frame in kept[0].values()} == {(3, 16, 20)}


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_file_is_computed_again(damage, tmp_path, clip, recipe, caplog):
    cache = Cache(tmp_path / "cache", 10**9)

    def backbone() -> Backbone:
        return Backbone(recipe.backbone, "cpu", torch.float32)

    found = cache.get(clip, recipe, backbone)
    want = found.window(0).clone()
    whole = found.file.read_bytes()
    found.file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert torch.equal(cache.get(clip, recipe, backbone).window(0), want)
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"size": 20},
        {"windows": 2},
        {"seed": 1},
        {"max_gap": 2},
        {"min_gap": 2},
        {"augment": "released"},
        {"class_token": "output"},
    ],
)
def test_other_recipes_have_other_files(change, clip, recipe):
    assert features._key(clip, recipe) != features._key(clip, replace(recipe, **change))
    assert features._key(clip, recipe) == features._key(clip, replace(recipe, lr=3e-3, steps=9))


def test_features_of_other_weights_in_the_same_folder_are_others(tmp_path, clip, recipe):
    folder = shutil.copytree(recipe.backbone, tmp_path / "own")
    recipe = replace(recipe, backbone=str(folder))
    key = features._key(clip, recipe)
    assert features._key(clip, recipe) == key
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, folder / "model.safetensors", {"format": "pt"})
    assert features._key(clip, recipe) != key


def test_a_cache_of_another_version_is_not_read(tmp_path, clip, recipe, monkeypatch):
    key = features._key(clip, recipe)
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    assert features._key(clip, recipe) != key


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, clip, recipe, monkeypatch):
    def full(*arguments, **options):
        Path(arguments[1]).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "save_file", full)
    cache = Cache(tmp_path / "cache", 10**9)
    backbone = Backbone(recipe.backbone, "cpu", torch.float32)
    with pytest.raises(TrainingError, match="No space left on device; free some space"):
        cache.get(clip, recipe, lambda: backbone)
    assert not list((tmp_path / "cache").glob("*safetensors"))
    assert not list((tmp_path / "cache").glob(".*.partial"))


def fill(folder: Path, count: int = 4) -> list[Path]:
    """Files of 100 bytes, the first used longest ago."""
    files = [folder / f"{i}{features._SUFFIX}" for i in range(count)]
    for i, file in enumerate(files):
        file.write_bytes(b"x" * 100)
        os.utime(file, (i, i))
    return files


def left(folder: Path) -> list[str]:
    return sorted(p.name[0] for p in folder.glob("*.safetensors"))


def test_the_limit_removes_what_was_used_longest_ago(tmp_path):
    cache = Cache(tmp_path, limit=250)
    cache.lease.add(fill(tmp_path)[0])
    assert cache.evict() == 2
    assert left(tmp_path) == ["0", "3"]


def test_what_another_run_reads_is_left(tmp_path, caplog):
    files = fill(tmp_path)
    other = Lease(tmp_path)
    other.add(files[0])
    other.add(files[2])
    cache = Cache(tmp_path, limit=100)
    assert cache.evict() == 2
    assert left(tmp_path) == ["0", "2"] and "what is in use keeps" in caplog.text
    other.release()
    assert cache.evict() == 1
    assert left(tmp_path) == ["2"] and not list(tmp_path.glob("*.lease*"))


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    files = fill(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from unveil.training.lease import Lease;"
        "lease = Lease(Path(sys.argv[1]).parent); lease.add(Path(sys.argv[1]));"
        "print('held', flush=True); time.sleep(60)"
    )
    line = [sys.executable, "-c", code, str(files[0])]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "held\n"
        assert leased(tmp_path) == {files[0].name}
        run.kill()
    assert leased(tmp_path) == set() and not list(tmp_path.glob("*.lease*"))


def test_what_is_just_being_computed_is_left(tmp_path):
    files = fill(tmp_path, 2)
    with FileLock(f"{files[0]}.lock"):
        assert Cache(tmp_path, limit=0).evict() == 1
    assert left(tmp_path) == ["0"]


def test_features_given_are_leased_while_the_cache_is_there(tmp_path, clip, recipe):
    cache = Cache(tmp_path / "cache", 0)
    file = cache.get(clip, recipe, lambda: Backbone(recipe.backbone, "cpu", torch.float32)).file
    assert Cache(tmp_path / "cache", 0).evict() == 0 and file.exists()
    del cache
    assert Cache(tmp_path / "cache", 0).evict() == 1 and not file.exists()


def test_a_clip_that_cannot_be_read_is_skipped(tmp_path, monkeypatch):
    frames(tmp_path / "good")
    (tmp_path / "bad.mp4").write_bytes(b"x")
    real = Path.open

    def open(self, *arguments, **options):
        if self.name == "bad.mp4":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", open)
    said = {}
    assert [c.name for c in find_clips(tmp_path, said.__setitem__)] == ["good"]
    assert said == {"bad.mp4": "PermissionError: [Errno 13] Permission denied"}


def items(count: int) -> list[ClipFeatures]:
    return [
        ClipFeatures(TrainingClip(Path(f"{i}"), f"{i}"), Path(f"{i}"), (2, 2), ((0, 1, 2),) * 5)
        for i in range(count)
    ]


def test_every_clip_comes_once_an_epoch():
    recipe, clips = Recipe(batch=3), items(6)
    names = [s.features.clip.name for step in range(2) for s in draw_batch(recipe, clips, step)]
    assert sorted(names) == [c.clip.name for c in clips]
    later = [s.features.clip.name for step in range(2, 4) for s in draw_batch(recipe, clips, step)]
    assert sorted(later) == sorted(names) and later != names


def test_a_step_draws_the_same_again():
    one, two = (draw_batch(Recipe(batch=2), items(5), 17) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert (a.features, a.window) == (b.features, b.window)
        assert torch.equal(
            torch.rand(3, generator=a.generator), torch.rand(3, generator=b.generator)
        )


def test_held_out_clips_follow_content_not_order():
    train, held = hold_out(items(9), 3, seed=0)
    assert len(held) == 3 and not {c.clip for c in train} & {c.clip for c in held}
    turned = hold_out(items(9)[::-1], 3, seed=0)[1]
    assert {c.clip for c in turned} == {c.clip for c in held}
    assert len(hold_out(items(2), 3, seed=0)[0]) == 1, "something is left to train on"


def test_the_schedule_falls_from_start_to_end():
    assert cosine(3.0, 1.0, 0, 10) == 3
    assert cosine(3.0, 1.0, 5, 10) == pytest.approx(2)
    assert cosine(3.0, 1.0, 10, 10) == pytest.approx(1)
