"""The viewer for a benchmark: its server in a process of its own, and a browser to look with."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

COMMAND = [sys.executable, "-u", "-c", "from unveil.cli import main; main()"]
"""What runs `unveil`, on the same Python."""


@contextmanager
def served(result: Path) -> Iterator[tuple[str, int]]:
    """The address of the viewer on a result that has no edits, and the process that serves it."""
    (result / "edits.jsonl").unlink(missing_ok=True)
    view = [*COMMAND, "view", str(result), "--no-browser"]
    with subprocess.Popen(view, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield re.search(r"http\S+", server.stdout.readline())[0], server.pid
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, without a window."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
