"""Scripts that made a number are kept, and go on working: what they take from Unveil is there."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_script_imports_from_unveil_is_there(script: Path):
    assert missing(script.read_text()) == []


def test_what_is_gone_is_found():
    code = "from unveil.fast import describe\nfrom unveil.fast.tree import saw\nimport unveil.gone"
    assert missing(code) == ["unveil.fast.tree.saw", "unveil.gone"]


def missing(code: str) -> list[str]:
    """Names that code imports from Unveil and that are not in it, wherever the import stands."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] == "unveil" and not there(name)]


def there(name: str) -> bool:
    """Whether it is a module, or a name in one."""
    module, _, attribute = name.rpartition(".")
    try:
        if hasattr(import_module(module or name), attribute):
            return True
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
