"""The backbone: a frozen self-supervised ViT that turns frames into attention keys.

A frame's feature is the key vector of every patch in the attention of the last block, heads
concatenated (design: Ding et al., arXiv 2311.17893, section 3.1). Nothing after those keys is
computed.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.errors import InputError
from unveil.features import dinov2, weights
from unveil.features.dinov2 import Dinov2
from unveil.features.hub_model import HubModel
from unveil.features.int8 import Int8Model, check_int8, computes_bf16
from unveil.settings import SIZE
from unveil.types import Features

Size = int | tuple[int, int]
Colour = tuple[float, float, float]
RELEASED_COLOURS: tuple[Colour, Colour] = ((0.432, 0.395, 0.376), (0.228, 0.221, 0.217))
"""Mean and deviation of the released evaluation of the method."""


class Backbone:
    """A frozen ViT on one device, ready to encode frames of any size.

    name: a name of `unveil.features.weights.TABLE`, a hub id or a local folder; fetched if need be.
    device: cpu, cuda, cuda:1, mps; chosen if None. dtype: bf16 where the processor gains from
    it, if None. colours: mean and deviation of R, G and B, 0 … 1, by which frames are
    normalised; the model's own if None. by_scale: interpolate the grid of positions as the
    released code of the method does, see `unveil.features.dinov2.interpolated`. int8: see
    `unveil.features.int8`; keys are of fp32 then.

    Raises WeightsError when weights are missing, broken, or not exactly those of the model,
    InputError for int8 where it cannot be had.
    """

    def __init__(
        self,
        name: str = weights.DEFAULT,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        colours: tuple[Colour, Colour] | None = None,
        by_scale: bool = False,
        int8: bool = False,
    ) -> None:
        self.name = name
        self.device = pick_device(device)
        self.dtype = torch.float32 if int8 else dtype or pick_dtype(self.device)
        self.precision = "int8" if int8 else str(self.dtype).removeprefix("torch.")
        row = weights.TABLE.get(name)
        self._model = self._load(by_scale)
        self.patch, self.channels = self._model.patch, self._model.channels
        own = (row.mean, row.std) if row else (weights.IMAGENET_MEAN, weights.IMAGENET_STD)
        mean, std = colours or own
        self._mean = torch.tensor(mean, device=self.device)[:, None, None] * 255
        self._std = torch.tensor(std, device=self.device)[:, None, None] * 255

    def _load(self, by_scale: bool) -> Dinov2 | HubModel | Int8Model:
        if self.precision == "int8":
            check_int8(self.name, self.device)
            return Int8Model(self.name, by_scale)
        folder = weights.pull(self.name)
        model = dinov2.load(folder, by_scale) or HubModel(self.name, folder, by_scale)
        return model.to(self.device, self.dtype)

    def grid(self, height: int, width: int, size: Size = SIZE) -> tuple[int, int]:
        """Patches down and across for a frame of height x width px.

        size: the short side in px, the aspect kept; or (height, width) in px. Both are rounded
        down to whole patches. Raises InputError below one patch.
        """
        if isinstance(size, tuple):
            h, w = (s // self.patch for s in size)
        else:
            scale = size / min(height, width)
            # A hair of slack: 480 · (336 / 480) must not become 335.99… and lose a row.
            h, w = (int(s * scale / self.patch + 1e-6) for s in (height, width))
        if h < 1 or w < 1:
            raise _too_small(size, self.patch)
        return h, w

    @torch.inference_mode()
    def encode(
        self,
        frames: UInt8[np.ndarray, "t H W 3"],
        size: Size = SIZE,
        batch: int = 4,
        on_frames: Callable[[int], None] | None = None,
    ) -> Features:
        """The features of frames, keys in the backbone's dtype, on its device.

        frames: uint8 RGB [T, H, W, 3]. batch: frames a forward pass; peak memory grows with it.
        on_frames: told after each pass how many of the frames are done.
        """
        t, height, width, _ = frames.shape
        h, w = self.grid(height, width, size)
        parts = []
        for i in range(0, t, batch):
            parts.append(self.encode_pixels(self.prepare(frames[i : i + batch], h, w)))
            if on_frames is not None:
                on_frames(min(i + batch, t))
        keys, saliency = (torch.cat(p) for p in zip(*parts, strict=True))
        return Features(keys, self.patch, saliency)

    def encode_chunks(
        self, chunks: Iterable[np.ndarray], size: Size = SIZE, batch: int = 4
    ) -> Iterator[Features]:
        """Features of one chunk of frames after the other."""
        return (self.encode(chunk, size, batch) for chunk in chunks)

    def prepare(
        self, frames: UInt8[np.ndarray, "t H W 3"], h: int, w: int
    ) -> Float[Tensor, "t 3 H1 W1"]:
        """Frames resized (bilinear, antialiased) to h x w patches and normalised, fp32."""
        x = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2)
        size = (h * self.patch, w * self.patch)
        if x.shape[-2:] != size:
            # Antialiased resizing of uint8 is many times faster than of floats on a CPU.
            x = x if self.device.type == "cpu" else x.float()
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        return (x.float() - self._mean) / self._std

    @torch.inference_mode()
    def encode_pixels(
        self, pixels: Float[Tensor, "t 3 H1 W1"]
    ) -> tuple[Float[Tensor, "t h w c"], Float[Tensor, "t h w"]]:
        """Keys and CLS saliency of frames that `prepare` made; sides are whole patches."""
        _, _, height, width = pixels.shape
        h, w = height // self.patch, width // self.patch
        keys, query = self._model(pixels.to(self.dtype))
        keys = keys[:, self._model.prefix :]
        saliency = _saliency(keys, query, self._model.heads)
        return keys.unflatten(1, (h, w)), saliency.unflatten(1, (h, w))

    @torch.inference_mode()
    def encode_with_cls(
        self, pixels: Float[Tensor, "t 3 H1 W1"], token: str = "key"
    ) -> Float[Tensor, "t n c"]:
        """CLS, then the keys of the patches row by row, n = 1 + h·w: what training reads.

        token: of CLS its key, or its output after the last block and norm, as the released code
        has it. Raises InputError for an output of a backbone that is not of the DINOv2 design.
        """
        pixels = pixels.to(self.dtype)
        if token == "output":
            if not isinstance(self._model, Dinov2):
                raise InputError(
                    f"class_token output: backbone {self.name!r} is not of the DINOv2 design, and "
                    "nothing after its last keys is computed; leave it at key"
                )
            keys, first = self._model.with_output(pixels)
        else:
            keys, _ = self._model(pixels)
            first = keys[:, 0]
        return torch.cat([first[:, None], keys[:, self._model.prefix :]], 1)


def _saliency(
    keys: Float[Tensor, "t n c"], query: Float[Tensor, "t c"], heads: int
) -> Float[Tensor, "t n"]:
    """Softmax of the CLS query over the patches, mean over heads."""
    k = keys.unflatten(-1, (heads, -1)).float()
    q = query.unflatten(-1, (heads, -1)).float()
    logits = torch.einsum("thd,tnhd->thn", q, k) * k.shape[-1] ** -0.5
    return logits.softmax(-1).mean(1)


def check_size(name: str, size: Size) -> None:
    """Raise InputError for a size without a whole patch of a backbone, before that is fetched.

    Says nothing where its patches are not known yet. Raises WeightsError for a name of nothing.
    """
    patch = weights.known_config(name).get("patch_size")
    if isinstance(patch, int) and min(size if isinstance(size, tuple) else (size,)) < patch:
        raise _too_small(size, patch)


def _too_small(size: Size, patch: int) -> InputError:
    return InputError(f"size {size} px leaves no whole patch of {patch} px; choose more")


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is. Raises InputError where it is not there."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        device = "mps" if torch.backends.mps.is_available() and device == "cpu" else device
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {str(device)!r} cannot be used here: {reason}") from error


def pick_dtype(device: torch.device) -> torch.dtype:
    """Bf16 where the processor computes in it (AMX, AVX-512 BF16, recent GPUs), else fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        return torch.bfloat16 if computes_bf16() else torch.float32
    return torch.float32
