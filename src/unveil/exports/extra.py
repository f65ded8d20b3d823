"""Libraries that only some exports need."""

from importlib import import_module
from types import ModuleType

from unveil.errors import OutputError


def need(module: str, extra: str) -> ModuleType:
    """A library that comes with an extra. Raises OutputError with the line that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise OutputError(
            f"this export needs {module.split('.')[0]}: pip install 'unveil[{extra}]'"
        ) from error
