"""A headless Chromium that a test drives through its pipe, as its developer tools do."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome")
TOLD = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


def find_chromium() -> str | None:
    """Its path, if it is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab.

    Args:
        requests: Where commands go.
        answers: Where answers and events come from.

    Attributes:
        told: What the console was told, errors and all.
        addresses: What was asked for.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.told: list[str] = []
        self.addresses: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is there."""
        self._loaded = False
        self.call("Page.navigate", url=path.absolute().as_uri())
        while not self._loaded:
            self._receive()

    def value(self, expression: str) -> Any:
        """What a piece of JavaScript gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def point_at(self, selector: str) -> None:
        """Move the pointer to the middle of the first element that a selector finds."""
        place = self.value(
            f"(() => {{const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const r = e.getClientRects()[0];"
            "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])

    def screenshot(self, *, width: int, height: int) -> bytes:
        """What is to be seen, as a PNG."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and give its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        """The next message; what the console is told is kept."""
        letters = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            assert letter, "Chromium has ended"
            letters += letter
        message: dict[str, Any] = json.loads(letters)
        method = message.get("method")
        if method in TOLD:
            self.told.append(json.dumps(message["params"]))
        if method == "Network.requestWillBeSent":
            self.addresses.append(message["params"]["request"]["url"])
        self._loaded |= method == "Page.loadEventFired"
        return message


@contextmanager
def browser(chromium: str, folder: Path) -> Iterator[Page]:
    """Start a headless Chromium, and end it.

    Args:
        chromium: Its path.
        folder: Where its profile goes.

    Yields:
        An empty tab.
    """
    to_read, requests = os.pipe()
    answers, to_write = os.pipe()
    # Above those that Chromium reads and writes, 3 and 4, so that neither is overwritten.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]

    def connect() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [
            chromium,
            "--headless",
            "--remote-debugging-pipe",
            "--no-sandbox",  # in a container the tests run as root, whom the sandbox refuses
            "--disable-gpu",
            "--disable-dev-shm-usage",  # which is small in a container
            "--no-first-run",
            f"--user-data-dir={folder}",
        ],
        pass_fds=(3, 4),
        preexec_fn=connect,  # safe, as nothing else runs in this process
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for end in (to_read, to_write, *high):
        os.close(end)
    try:
        with os.fdopen(requests, "wb") as write, os.fdopen(answers, "rb") as read:
            yield Page(write, read)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
