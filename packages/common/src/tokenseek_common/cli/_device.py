"""Where a run computes and in which precision."""

from __future__ import annotations

import torch

from tokenseek_common._errors import InputError
from tokenseek_common.cli._dtype_name import DtypeName


def resolve_device(device: str) -> torch.device:
    """The device that an option names.

    Args:
        device: ``"auto"`` (the accelerator if there is one, else the CPU), ``"cpu"``, or an
            accelerator such as ``"cuda"`` or ``"cuda:1"``.

    Returns:
        The device.

    Raises:
        InputError: If torch knows no such device or this machine has none.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if device == "auto":
        return accelerator or torch.device("cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise InputError(
            f"device ({device}) must be auto, cpu or an accelerator such as cuda:0; "
            "choose another --device"
        ) from None
    if resolved.type == "cpu":
        return resolved
    present = torch.accelerator.device_count() if accelerator is not None else 0
    if accelerator is None or accelerator.type != resolved.type or (resolved.index or 0) >= present:
        raise InputError(
            f"device ({device}) must be one that this machine has; choose --device auto"
        )
    return resolved


def first_device(device: str) -> torch.device:
    """The device that an option names, where a Trainer takes the first of its kind alone.

    Args:
        device: As of `resolve_device`.

    Returns:
        The device.

    Raises:
        InputError: It is none of this machine, or not the first of its kind.

    Example:
        >>> first_device("cpu")
        device(type='cpu')
    """
    resolved = resolve_device(device)
    if resolved.index:
        raise InputError(
            f"device ({resolved}) must be the first of its kind; choose --device {resolved.type} "
            f"and set CUDA_VISIBLE_DEVICES={resolved.index}"
        )
    return resolved


def resolve_dtype(dtype: DtypeName, device: torch.device) -> torch.dtype:
    """The floating-point type that an option names.

    Args:
        dtype: ``"auto"`` is bfloat16 on a CUDA device that computes in it, float32 elsewhere; any
            other is the type of that name.
        device: Where it is computed.

    Returns:
        The type.

    Raises:
        InputError: If there is no such type, or the device does not have it.

    Example:
        >>> resolve_dtype("auto", torch.device("cpu"))
        torch.float32
    """
    dtypes = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "float64": torch.float64,
    }
    if dtype == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if dtype not in dtypes:
        raise InputError(
            f"dtype ({dtype}) must be one of auto, {', '.join(dtypes)}; choose another --dtype"
        )
    if dtype == "float64" and device.type == "mps":
        raise InputError("dtype (float64) must be one that mps has; choose --dtype float32")
    return dtypes[dtype]
