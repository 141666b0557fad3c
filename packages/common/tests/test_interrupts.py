from __future__ import annotations

import importlib
import os
import signal
import threading
from pathlib import Path

import pytest

from tokenseek_common import interruptible

SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass
"""


def test_an_interrupt_raises_and_means_afterwards_what_it_meant_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is not before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_in_an_import_that_would_swallow_it_an_interrupt_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swallows_interrupts.py").write_text(SWALLOWS)
    monkeypatch.syspath_prepend(tmp_path)
    done: list[object] = []
    monkeypatch.setattr(os, "write", lambda stream, text: done.append((stream, text)))
    monkeypatch.setattr(os, "_exit", done.append)
    with interruptible():
        importlib.import_module("swallows_interrupts")
    assert done[:2] == [(2, b"error: interrupted\n"), 130]


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def run() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
