"""A viewer in a thread, and what a test asks it."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from unveil.view.app import make_app
from unveil.view.desk import Desk
from unveil.view.serve import _bound

TOKEN = "a-token-of-tests"


@dataclass
class Viewer:
    """A running viewer: its desk, its port, and requests to it."""

    desk: Desk
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/{TOKEN}/"

    def ask(
        self, path: str, said: Any = None, token: str = TOKEN, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; said: JSON to post."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None
        if said is not None:
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            headers = {"content-type": "application/json"} | headers
        try:
            connection.request("GET" if body is None else "POST", f"/{token}/{path}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def json(self, path: str, said: Any = None) -> Any:
        status, body, _ = self.ask(path, said)
        assert status == 200, body
        return json.loads(body)

    def labels(self, path: str, height: int, width: int) -> np.ndarray:
        status, body, _ = self.ask(path)
        assert status == 200, body
        return unrolled(body, height, width)

    def wait(self, phase: str = "ready") -> dict[str, Any]:
        for _ in range(600):
            state = self.json("api/state")
            if state["phase"] == phase:
                return state
            time.sleep(0.05)
        raise AssertionError(f"it never became {phase}: {state}")


def unrolled(body: bytes, height: int, width: int) -> np.ndarray:
    """Labels of run lengths as the page reads them."""
    words = np.frombuffer(body, "<u4")
    return np.repeat(words >> 20, words & 0xFFFFF).reshape(height, width)


@contextmanager
def viewer(folder: Path, **options: Any) -> Iterator[Viewer]:
    """A viewer of a folder, closed at the end."""
    desk = Desk(folder, **options)
    listening = _bound("127.0.0.1", 0)
    app = make_app(desk, TOKEN, frozenset(("localhost", "127.0.0.1")))
    config = uvicorn.Config(app, log_level="error", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Viewer(desk, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        desk.wait()
        desk.close()
