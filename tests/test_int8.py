"""The backbone in int8: nearly the keys of fp32, made once and whole; and what is said else."""

import gc
import os
import signal
import sys
import threading
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import TINY, make_tiny_backbone
from unveil.errors import InputError
from unveil.features import dinov2, int8, weights
from unveil.features.backbone import Backbone
from unveil.features.dinov2 import interpolated
from unveil.segmentation.segmenter import Segmenter


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache of its own, with no demo clips to fetch for it."""
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path / "home"))
    pixels = [torch.randn(1, 3, 12, 20, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    monkeypatch.setattr(int8, "calibration", lambda model, row: pixels)
    return tmp_path / "home" / "int8"


def frames(t: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (t, 17, 23, 3), dtype=np.uint8)


@pytest.mark.slow  # NNCF takes seconds to import
def test_keys_are_nearly_those_of_fp32_and_the_model_is_made_once(kept, tiny_backbone, monkeypatch):
    pytest.importorskip("nncf", reason="unveil[openvino] is not installed")
    got = Backbone(tiny_backbone, "cpu", int8=True)
    assert (got.precision, got.dtype) == ("int8", torch.float32)
    exact = Backbone(tiny_backbone, "cpu", torch.float32)
    for size in (16, (8, 28)):
        ours, theirs = got.encode(frames(), size), exact.encode(frames(), size)
        assert ours.keys.shape == theirs.keys.shape
        mean = theirs.keys.mean((0, 1, 2))
        assert F.cosine_similarity(ours.keys - mean, theirs.keys - mean, dim=-1).mean() > 0.98
        both = torch.stack((ours.saliency.flatten(), theirs.saliency.flatten()))
        assert torch.corrcoef(both)[0, 1] > 0.85
        torch.testing.assert_close(got.encode(frames(), size, batch=1).keys, ours.keys)
    names = [p.name for p in kept.iterdir() if not p.name.endswith(".lock")]
    assert len(names) == 1 and not any(n in os.environ for n in ("CI", "NNCF_CI") if n not in HELD)
    monkeypatch.setattr(int8, "quantise", lambda *_: pytest.fail("quantised again"))
    again = Segmenter(backbone=tiny_backbone, precision="int8", size=16)
    torch.testing.assert_close(
        again.backbone.encode(frames(), 16).keys, got.encode(frames(), 16).keys
    )
    assert again(frames()).run["precision"] == "int8"


HELD = set(os.environ)


class Library:
    """OpenVINO as far as it is used to run a model, with the model in fp32 behind it."""

    def __init__(self, model):
        self.model, self.shapes, self.hints = model, [], []

    def read_model(self, path):
        assert path.is_file()
        return self

    def reshape(self, shapes):
        self.shapes.append(shapes)

    def compile_model(self, model, device, options):
        assert device == "CPU" and options["INFERENCE_NUM_THREADS"] == torch.get_num_threads()
        self.hints.append(options["INFERENCE_PRECISION_HINT"])

        def run(inputs):
            with torch.no_grad():
                return [x.numpy() for x in self.model.at(*map(torch.from_numpy, inputs))]

        return run


def written(model, pixels, path):
    path.write_text("")


@pytest.mark.parametrize("by_scale", [False, True])
def test_frames_and_positions_go_to_it_as_to_the_model_itself(
    kept, tiny_backbone, monkeypatch, by_scale
):
    monkeypatch.setattr(int8, "find_spec", lambda name: name)
    library = Library(dinov2.load(weights.path(tiny_backbone)))
    monkeypatch.setattr(int8, "_core", lambda: library)
    monkeypatch.setattr(int8, "_versions", lambda: ["1", "2"])
    monkeypatch.setattr(int8, "quantise", written)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": by_scale})
    got = Backbone(tiny_backbone, "cpu", by_scale=by_scale, int8=True)
    want = Backbone(tiny_backbone, "cpu", torch.float32, by_scale=by_scale)
    for size in (16, (8, 28), 16):
        ours, theirs = got.encode(frames(), size), want.encode(frames(), size)
        torch.testing.assert_close(ours.keys, theirs.keys)
        torch.testing.assert_close(ours.saliency, theirs.saliency)
    assert library.shapes == [
        {0: [1, 3, 16, 20], 1: [1, 21, 16]},
        {0: [1, 3, 8, 28], 1: [1, 15, 16]},
    ]
    assert library.hints == ["bf16" if by_scale else "f32"] * 2
    x = got.prepare(frames(), 4, 5)
    torch.testing.assert_close(got.encode_with_cls(x), want.encode_with_cls(x))


def test_other_weights_and_other_versions_are_other_models(kept, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(int8, "_core", lambda: None)
    monkeypatch.setattr(
        int8, "quantise", lambda m, x, path: made.append(path) or written(m, x, path)
    )
    folders = [make_tiny_backbone(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    for versions in (["1", "2"], ["1", "3"]):
        monkeypatch.setattr(int8, "_versions", lambda versions=versions: versions)
        for folder in (*folders, *folders):
            int8.Int8Model(str(folder))
    assert len(made) == 4


def test_what_breaks_off_leaves_nothing(kept, tiny_backbone, monkeypatch):
    def broken(model, pixels, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(int8, "_core", lambda: None)
    monkeypatch.setattr(int8, "_versions", lambda: ["1", "2"])
    monkeypatch.setattr(int8, "quantise", broken)
    with pytest.raises(KeyboardInterrupt):
        int8.Int8Model(tiny_backbone)
    assert [p.suffix for p in kept.iterdir()] in ([], [".lock"])


@pytest.mark.slow
def test_ctrl_c_does_no_harm_after_it_was_let_go_of_in_a_thread(kept, tiny_backbone):
    """OpenVINO takes its stack for signals from the thread that lets go of its engine."""
    pytest.importorskip("nncf", reason="unveil[openvino] is not installed")
    held = [Backbone(tiny_backbone, "cpu", int8=True)]
    held[0].encode(frames(), 16)

    def let_go():
        held.clear()
        gc.collect()

    thread = threading.Thread(target=let_go)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_who_has_no_openvino_is_told_what_to_install(tiny_backbone, monkeypatch):
    monkeypatch.setattr(int8, "_core", int8._core.__wrapped__)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'unveil\[openvino\]', or leave precision"):
        Segmenter(backbone=tiny_backbone, precision="int8")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(int8, "version", missing)
    with pytest.raises(InputError, match="unveil"):
        int8._versions()


def test_a_processor_on_which_it_is_slower_is_told(kept, tiny_backbone, monkeypatch, caplog):
    monkeypatch.setattr(int8, "_core", lambda: None)
    monkeypatch.setattr(int8, "_versions", lambda: ["1", "2"])
    monkeypatch.setattr(int8, "quantise", written)
    for capabilities, told in (({"avx2": True}, True), ({"avx512_vnni": True}, False)):
        caplog.clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c)
        int8.Int8Model(tiny_backbone)
        assert ("no VNNI" in caplog.text) == told


def test_it_is_for_the_cpu_and_for_dinov2(tiny_backbone, tmp_path):
    with pytest.raises(InputError, match="int8 is for the CPU, not for meta"):
        Backbone(tiny_backbone, "meta", int8=True)
    for family in set(TINY) - {"dinov2"}:
        folder = make_tiny_backbone(tmp_path / family, family)
        with pytest.raises(InputError, match="of the DINOv2 design"):
            Backbone(str(folder), "cpu", int8=True)


def test_frames_to_calibrate_on_are_of_every_demo_clip(tiny_backbone, monkeypatch):
    clips = {name: np.full((4, 30, 40, 3), 40 * i, np.uint8) for i, name in enumerate(int8.CLIPS)}
    monkeypatch.setattr(int8, "fetch_clip", lambda name: clips[name])
    model = dinov2.load(weights.path(tiny_backbone))
    pixels = int8.calibration(model, None)
    assert len(pixels) == int8.FRAMES * len(clips)
    h, w = (n * model.patch for n in int8.GRID)
    assert {x.shape for x in pixels} == {(1, 3, h, w)}
    want = (80 / 255 - weights.IMAGENET_MEAN[0]) / weights.IMAGENET_STD[0]
    assert pixels[-1][0, 0].mean().item() == pytest.approx(want, abs=1e-4)


def test_positions_are_an_argument(tiny_backbone):
    model = dinov2.load(weights.path(tiny_backbone))
    x = torch.randn(2, 3, 12, 20)
    for got, want in zip(model.at(x, interpolated(model.table, 3, 5)), model(x), strict=True):
        assert torch.equal(got, want)
