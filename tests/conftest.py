"""What the tests share: where the outside data is, and the default weights, fetched once."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real sequences and oracles beside a checkout; it never travels with it."""
    path = Path(os.environ.get("UNVEIL_SHARED", ROOT.parent / "shared")) / "data"
    if not path.is_dir():
        pytest.skip(f"no shared data at {path} (set UNVEIL_SHARED to the folder that holds data/)")
    return path
