"""The viewer at an address of this machine, until Ctrl-C."""

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from unveil.errors import InputError
from unveil.view.app import make_app
from unveil.view.desk import Desk, Make

LOOPBACK = "127.0.0.1"
PORT = 8731
_TRIES = 50  # ports


def serve(
    folder: Path,
    *,
    source: Path | None = None,
    make: Make | None = None,
    host: str = LOOPBACK,
    port: int = PORT,
    browser: bool = True,
    say: Callable[[str], None],
) -> None:
    """Show a result folder until the program is interrupted.

    source: the video, where it is no longer where it was. make: segments it first. port: the first
    one tried; one in use moves on to the next. browser: open it. say: told the address, and that no
    browser could be opened. Raises what `open_folder` raises, and InputError where no port is free.
    """
    desk = Desk(folder, source, make)
    try:
        with contextlib.closing(_bound(host, port)) as listening:
            token = secrets.token_urlsafe(18)
            at = listening.getsockname()[1]
            shown = "localhost" if host in (LOOPBACK, "::1") else host
            url = f"http://{shown if ':' not in shown else f'[{shown}]'}:{at}/{token}/"
            app = make_app(desk, token, frozenset(("localhost", host)))
            config = uvicorn.Config(
                app, log_level="warning", lifespan="on", server_header=False, ws="none"
            )
            say(f"the viewer is at {url}\nCtrl-C ends it; every edit is on the disk already")
            for note in desk.notes():
                say(note)
            if browser and not _open(url):
                say("no browser could be opened: open that address in one")
            uvicorn.Server(config).run([listening])
            desk.wait()
    finally:
        desk.close()


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the first free port from a given one on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for at in range(port, port + _TRIES) if port else [0]:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, at))
            listening.listen(64)
        except OverflowError:
            listening.close()
            raise InputError(f"port: expected 0 … 65535, got {at}") from None
        except OSError as error:
            listening.close()
            if isinstance(error, socket.gaierror) or error.errno == 99:
                raise InputError(f"{host} is no address of this machine") from error
            continue
        return listening
    raise InputError(f"no free port from {port} to {port + _TRIES - 1}: give another with --port")


def _open(url: str) -> bool:
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
