"""Data flows one way: a module imports only from its own room and those above it."""

import ast
from pathlib import Path

import pytest

import unveil

SOURCE = Path(unveil.__file__).parent
ROOMS = [
    {"errors", "settings", "pipeline"},
    {"types"},
    {"container", "images"},
    {"video"},
    {"weights"},
    {"backbone"},
    {"attention"},
    {"motion"},
    {"cluster", "refine", "objectness"},
    {"stream", "finders"},
    {"report", "objects", "staging"},
    {"export"},
    {"painter"},
    {"demo", "segmenter", "recut"},
    {"losses"},
    {"training"},
    {"datasets", "metrics"},
    {"evaluate"},
    {"cli"},
]
"""From the source of the stream to its mouth."""


def room(module: str) -> int:
    """How far down the stream a module lies; a new one has to be given a place above."""
    name = module.split(".")[1]
    for i, names in enumerate(ROOMS):
        if name in names:
            return i
    raise AssertionError(f"{module} has no place in ROOMS")


def imported(file: Path) -> set[str]:
    """Modules of the package that a file imports at its top level."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "unveil":
            found |= {f"unveil.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unveil."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("unveil.")}
    return found


MODULES = [file for file in sorted(SOURCE.rglob("*.py")) if file != SOURCE / "__init__.py"]


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_a_module_imports_only_from_above(file):
    module = ".".join(("unveil", *file.relative_to(SOURCE).with_suffix("").parts))
    below = {other for other in imported(file) if room(other) > room(module)}
    assert not below, f"{module} imports from further down the stream: {sorted(below)}"


def test_the_public_names_are_these():
    assert unveil.__all__ == [
        "Clip",
        "Segmentation",
        "Segmenter",
        "Settings",
        "UnveilError",
        "open_video",
        "read_clip",
        "segment",
    ]
    assert all(getattr(unveil, name) for name in unveil.__all__)


def test_importing_the_package_and_the_commands_is_cheap():
    import subprocess
    import sys

    heavy = "{'torch', 'av', 'scipy', 'transformers', 'PIL'} & set(sys.modules)"
    code = f"import sys, unveil, unveil.cli; print({heavy} or 'cheap')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cheap\n"
