"""A backbone as transformers has it, up to the keys of its last block."""

import os
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from unveil.errors import InputError, WeightsError
from unveil.features.dinov2 import interpolated


class HubModel(nn.Module):
    """The model in a folder of weights; nothing after its last keys is computed.

    by_scale: see `unveil.features.dinov2.interpolated`. prefix: tokens before those of the patches.
    Raises WeightsError where the weights are not exactly those of the model, InputError where
    positions are not learned and were to be interpolated by scale.
    """

    def __init__(self, name: str, folder: Path, by_scale: bool = False) -> None:
        super().__init__()
        self.model = _load(name, folder)
        self.last = _keep_only_keys_of_last_layer(self.model)
        config: Any = self.model.config
        self.patch: int = config.patch_size
        self.channels: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self.prefix = 1 + getattr(config, "num_register_tokens", 0)
        if by_scale:
            _interpolate_by_scale(self.model)
        # ViT of the first DINO interpolates its position grid on request only; the others always.
        self._options = {"interpolate_pos_encoding": True} if config.model_type == "vit" else {}

    def forward(
        self, pixels: Float[Tensor, "t 3 H1 W1"]
    ) -> tuple[Float[Tensor, "t n c"], Float[Tensor, "t c"]]:
        """Keys of all tokens, CLS first, and the query of CLS, in the last block's attention."""
        self.model(pixels, **self._options)
        return self.last.keys, self.last.cls_query


class _LastKeys(nn.Module):
    """Stands in for the last layer: computes its keys and the query of CLS, and nothing more."""

    def __init__(self, norm: nn.Module, k_proj: nn.Linear, q_proj: nn.Linear) -> None:
        super().__init__()
        self.norm, self.k_proj, self.q_proj = norm, k_proj, q_proj

    def forward(self, hidden: Tensor, *args: object, **kwargs: object) -> Tensor:
        x = self.norm(hidden)
        self.keys = self.k_proj(x)
        self.cls_query = self.q_proj(x[:, 0])
        return hidden


def _load(name: str, folder: Path) -> nn.Module:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what does not fit is an error of ours, below
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        model, info = AutoModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"cannot load backbone {name!r} from {folder}: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            some = ", ".join(sorted(map(str, info[kind]))[:5])
            raise WeightsError(
                f"backbone {name!r} in {folder} does not fit a {config.model_type} model: "
                f"{len(info[kind])} {kind.replace('_', ' ')} ({some})"
            )
    return model.eval().requires_grad_(False)


def _interpolate_by_scale(model: nn.Module) -> None:
    embeddings: Any = model.embeddings
    patch: int = embeddings.config.patch_size
    if not hasattr(embeddings, "interpolate_pos_encoding"):
        raise InputError(
            "positions: scale is for a backbone with a learned grid of positions, and "
            f"{type(model).__name__} has none: leave it at size"
        )

    def interpolate(tokens: Tensor, height: int, width: int) -> Tensor:
        table = embeddings.position_embeddings
        return interpolated(table, height // patch, width // patch, by_scale=True)

    embeddings.interpolate_pos_encoding = interpolate


def _keep_only_keys_of_last_layer(model: nn.Module) -> _LastKeys:
    layers = [m for m in model.modules() if isinstance(m, nn.ModuleList)][-1]
    last: Any = layers[-1]
    norm = last.norm1 if hasattr(last, "norm1") else last.layernorm_before
    attention = last.attention
    keys = _LastKeys(norm, attention.k_proj, attention.q_proj)
    layers[-1] = keys
    return keys
