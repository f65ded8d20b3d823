"""Data flows one way: a room imports only from those above it, and no file from its own circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import unveil
from unveil import errors

SOURCE = Path(unveil.__file__).parent
ROOMS = [
    {"errors"},
    {"address"},
    {"checks"},
    {"settings", "progress", "threads", "timing"},
    {"files", "text", "types"},
    {"video"},
    {"features"},
    {"attention"},
    {"paper", "fast"},
    {"slots"},
    {"results"},
    {"figures"},
    {"editing"},
    {"exports"},
    {"segmentation"},
    {"batch"},
    {"view"},
    {"training"},
    {"metrics"},
    {"datasets"},
    {"imports"},
    {"synthetic"},
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


def name_of(file: Path, source: Path) -> str:
    parts = file.relative_to(source).with_suffix("").parts
    return ".".join((source.name, *(p for p in parts if p != "__init__")))


def imported(code: str, package: str, modules: set[str]) -> set[str]:
    """Modules of a package that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read: write the whole name"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in modules else node.module or "")
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == package and name != package}


def graph(source: Path) -> dict[str, set[str]]:
    """Module → the modules that it imports; a package counts as its `__init__`."""
    files = {name_of(f, source): f for f in sorted(source.rglob("*.py"))}
    del files[source.name]
    return {n: imported(f.read_text(), source.name, set(files)) - {n} for n, f in files.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


ARROWS = graph(SOURCE)


@pytest.mark.parametrize("module", ARROWS)
def test_a_module_imports_only_from_above(module):
    below = {other for other in ARROWS[module] if room(other) > room(module)}
    assert not below, f"{module} imports from further down the stream: {sorted(below)}"


def test_no_file_imports_itself_by_way_of_others():
    assert not circle(ARROWS)


def test_rooms_have_no_circle_either():
    rooms: dict[str, set[str]] = {}
    for module, others in ARROWS.items():
        name = module.split(".")[1]
        rooms.setdefault(name, set()).update(o.split(".")[1] for o in others)
    assert not circle({name: others - {name} for name, others in rooms.items()})


def test_a_circle_planted_in_a_function_is_seen(tmp_path):
    package = tmp_path / "planted"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "deep/__init__"):
        (package / f"{name}.py").write_text("")
    (package / "first.py").write_text("from planted.deep import second\n")
    (package / "deep/second.py").write_text("class A:\n    def f(self):\n        pass\n")
    assert not circle(graph(package))
    (package / "deep/second.py").write_text(
        "class A:\n    def f(self):\n        from planted import first\n        return first\n"
    )
    assert set(circle(graph(package))) == {"planted.first", "planted.deep.second"}


def test_the_public_names_are_these():
    assert unveil.__all__ == [
        "Clip",
        "DataError",
        "InputError",
        "Object",
        "OutputError",
        "Segmentation",
        "Segmenter",
        "Settings",
        "TrainingError",
        "UnveilError",
        "WeightsError",
        "open_video",
        "read_clip",
        "segment",
    ]
    assert all(getattr(unveil, name) for name in unveil.__all__)


def test_what_the_page_of_the_api_tells_of_is_public():
    page = (SOURCE.parents[1] / "docs/api.md").read_text()
    told = {name.rpartition(".")[2] for name in re.findall(r"^::: (unveil\.\S+)$", page, re.M)}
    kinds = {name for name, x in vars(errors).items() if isinstance(x, type)}
    assert (told - {"errors"}) | kinds == set(unveil.__all__)


def test_no_room_has_the_name_of_something_public():
    """`import unveil.segment` would put a module in the place of the function."""
    assert not {p.stem for p in SOURCE.iterdir()} & set(unveil.__all__)


def test_importing_the_package_and_the_commands_is_cheap():
    import subprocess
    import sys

    heavy = "{'torch', 'av', 'scipy', 'transformers', 'PIL'} & set(sys.modules)"
    code = f"import sys, unveil, unveil.cli; print({heavy} or 'cheap')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cheap\n"
