import psutil
import pytest
import torch

from tokenseek_common.memory import free_bytes


def test_a_cpu_has_the_memory_that_the_system_calls_available() -> None:
    assert abs(free_bytes(torch.device("cpu")) / psutil.virtual_memory().available - 1) < 0.2


def test_an_accelerator_has_what_nobody_uses_and_what_torch_holds_in_reserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Module:
        mem_get_info = staticmethod(lambda device: (100, 1000))
        memory_reserved = staticmethod(lambda device: 50)
        memory_allocated = staticmethod(lambda device: 20)

    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    assert free_bytes(torch.device("cuda")) == 130
