from __future__ import annotations

import pytest

from tokenseek_common import InputError
from tokenseek_common.cli import require_one_process


def test_a_command_that_was_started_several_times_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    require_one_process()
    monkeypatch.setenv("WORLD_SIZE", "1")
    require_one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError) as error:
        require_one_process()
    assert str(error.value) == (
        "WORLD_SIZE (2) must be 1, training runs in one process; start it without torchrun or "
        "accelerate launch"
    )
