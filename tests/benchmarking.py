"""The scripts of `benchmarks/`, which are no package, for tests of them."""

import sys
from importlib import import_module
from types import ModuleType

from conftest import ROOT


def benchmark(name: str) -> ModuleType:
    """A script as a module; it finds those beside it, as when it is run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)
