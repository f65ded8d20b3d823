"""The command line: `unveil --help`.

Commands import what they need when they run, so that help answers at once. A mistake of the
user's ends with one clear line and exit code 2, an interruption with 130, SIGTERM
with 143, output that nobody reads any more with 141.
"""

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import tyro

import unveil
from unveil.cli.attention import Attention
from unveil.cli.data import Data
from unveil.cli.evaluate import Evaluate
from unveil.cli.export import Export
from unveil.cli.importing import Import
from unveil.cli.options import REGISTRY, mistyped
from unveil.cli.recut import Recut
from unveil.cli.segment import Demo, Segment
from unveil.cli.status import Status
from unveil.cli.train import Train
from unveil.cli.view import View
from unveil.cli.weights import Weights
from unveil.errors import NO_MEMORY, InputError, UnveilError, is_out_of_memory

Command = (
    Annotated[Segment, tyro.conf.subcommand("segment")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Recut, tyro.conf.subcommand("recut")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Attention, tyro.conf.subcommand("attention")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Weights, tyro.conf.subcommand("weights")]
)
_NAMES = tuple(command.__metadata__[0].name for command in get_args(Command))
_STYLE = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.FlagCreatePairsOff,
)

_SPINS = "2000"
"""Turns for which one of torch's threads waits for another before it lets go of its core. With
libgomp's own 300,000, beside another busy process, edges take sixteen times as long
(docs/speed.md). Read when torch is imported, by a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _say_all_names()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["--version"]:
        print(f"unveil {unveil.__version__}")
        return 0
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    before = _on_termination(_end)
    try:
        if wrong := mistyped(arguments, _NAMES):
            raise InputError(wrong)
        command = tyro.cli(
            Command,
            prog="unveil",
            description="Find, segment and track every object in a video. `unveil --version` says "
            "which Unveil this is.",
            args=arguments,
            config=_STYLE,
            registry=REGISTRY,
        )
        code = command.run()
        sys.stdout.flush()  # here, where a reader who has gone can be told from a mistake
        return code
    except UnveilError as error:
        print(f"unveil: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"unveil: {NO_MEMORY}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head`: who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _Terminated:
        print("unveil: ended by SIGTERM; nothing half-written was left behind", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("unveil: interrupted; nothing half-written was left behind", file=sys.stderr)
        return 130
    finally:
        _on_termination(before)


def _say_all_names() -> None:
    """Let file names that are no text be printed, their bytes written out: one ends no batch."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which cleans up as Ctrl-C does."""


def _end(signum: int, frame: object) -> None:
    raise _Terminated


def _on_termination(handler: Any) -> Any:
    """Set what SIGTERM does and return what it did; nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread() or handler is None:
        return None
    return signal.signal(signal.SIGTERM, handler)
