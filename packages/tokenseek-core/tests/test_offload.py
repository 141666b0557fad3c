"""Keys and values that wait in the host's memory: the same gradient, and one layer's at a time."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from exact import assert_reference, exact_model
from families import packed_batch, tiny_batch, with_lora
from taken import always, take_step
from test_devices import PLACES, two_devices
from tiny_models import checkpointed
from tokenseek_core import apply_tokenseek


@pytest.fixture(params=["whole", "chunks"])
def attention(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that attend together, or one by one."""
    if request.param == "chunks":
        monkeypatch.setattr("tokenseek_core._row_attention.MOST", 1)


@pytest.mark.usefixtures("attention")
@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("way", ["plain", "checkpointing", "reentrant", "lora", "packed"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_offloaded_steps_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str, way: str, gradient: Any
) -> None:
    model = exact_model(monkeypatch, family)
    trained: nn.Module = with_lora(model) if way == "lora" else model
    if way == "reentrant":
        checkpointed(model, use_reentrant=True)
    if way == "checkpointing":
        checkpointed(model)
    batch = packed_batch() if way == "packed" else tiny_batch("left")
    config = always(gradient=gradient, selector="quota", kv_offload=True)
    taken = take_step(trained, batch, config)
    checkpointed(model, enable=False)
    assert_reference(taken, model, batch, trained, gradient=gradient)


class Living(TorchDispatchMode):
    """Knows the tensors of a shape and device that were made and are alive."""

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shape, self._device = shape, device
        self._made: list[StorageWeakRef] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        wanted = (self._shape, self._device)
        if isinstance(output, Tensor) and (tuple(output.shape), output.device.type) == wanted:
            self._made.append(StorageWeakRef(output.untyped_storage()))
        return output

    def count(self) -> int:
        """Storages that are alive."""
        gc.collect()
        return len({made.cdata for made in self._made if not made.expired()})


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("offload", [False, True], ids=["on the device", "offloaded"])
def test_between_the_passes_no_layer_has_its_keys_and_values_on_the_device(
    gradient: Any, offload: bool
) -> None:
    config = always(gradient=gradient, selector="random", check=False, kv_offload=offload)
    places = {name: "meta" if "layers" in name else "cpu" for name in PLACES}
    with two_devices(places) as model, apply_tokenseek(model, config) as handle:
        batch = {name: torch.empty_like(x) for name, x in tiny_batch().items()}
        with Living((3, 2, 20, 8), "meta") as keys_and_values:
            loss = model(**batch).loss
            layers = 3 if gradient == "restart" else 2
            assert (keys_and_values.count() == 0) == offload
            loss.backward()
        assert handle.last is not None
        assert handle.last.kept_bytes == layers * 2 * 3 * 2 * 20 * 8 * 4
        assert all(parameter.grad is not None for parameter in model.parameters())
