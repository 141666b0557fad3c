from __future__ import annotations

import signal

import pytest

from tokenseek_common.training import sigterm_restored


@pytest.mark.parametrize("failed", [False, True])
def test_sigterm_means_after_the_block_what_it_meant_before(failed: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def run() -> None:
        with sigterm_restored():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if failed:
                raise RuntimeError("stopped")

    if failed:
        with pytest.raises(RuntimeError, match="stopped"):
            run()
    else:
        run()
    assert signal.getsignal(signal.SIGTERM) is before
