from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from tokenseek_common import InputError
from tokenseek_common.cli import CommonOptions, DtypeName, resolve_device, resolve_dtype

CPU = torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has two CUDA devices; nothing is computed on them."""
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: cuda)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_machine_without_an_accelerator_computes_on_the_cpu(device: str) -> None:
    assert resolve_device(device) == CPU


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("device", "resolved"),
    [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu")],
)
def test_an_accelerator_is_taken_where_it_is_there(device: str, resolved: str) -> None:
    assert resolve_device(device) == torch.device(resolved)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("device", ["cuda:2", "mps", "meta"])
def test_a_device_that_the_machine_lacks_is_refused(device: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_device(device)
    assert str(error.value) == (
        f"device ({device}) must be one that this machine has; choose --device auto"
    )


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x"])
def test_a_device_that_torch_does_not_know_is_refused(device: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_device(device)
    assert str(error.value) == (
        f"device ({device}) must be auto, cpu or an accelerator such as cuda:0; "
        "choose another --device"
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_a_type_is_taken_by_its_name(dtype: DtypeName) -> None:
    assert resolve_dtype(dtype, CPU) is getattr(torch, dtype)


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_automatic_type_is_bfloat16_where_cuda_computes_in_it(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert resolve_dtype("auto", torch.device("cuda")) is dtype
    assert resolve_dtype("auto", CPU) is torch.float32


def test_a_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError) as error:
        resolve_dtype(cast(Any, "int8"), CPU)
    assert str(error.value) == (
        "dtype (int8) must be one of auto, float32, bfloat16, float16, float64; "
        "choose another --dtype"
    )


def test_a_type_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(InputError) as error:
        resolve_dtype("float64", torch.device("mps"))
    assert str(error.value) == "dtype (float64) must be one that mps has; choose --dtype float32"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InputError) as error:
        CommonOptions(seed=seed)
    assert str(error.value) == (
        f"seed ({seed}) must be from 0 to 4294967295; choose another --seed"
    )
