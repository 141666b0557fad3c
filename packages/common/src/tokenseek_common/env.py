"""What a report of a bug must say of the machine: ``python -m tokenseek_common.env``.

Versions and sizes only: no names, no paths, no variables of the environment.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys

__all__ = ["environment"]

_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenseek-common",
    "tokenseek-core",
    "mept",
    "promotion-flow",
)


def environment() -> dict[str, str]:
    """Collects versions of libraries, and what the machine has.

    Libraries are looked up, not imported; torch alone is, for the devices.

    Returns:
        What there is, in the order in which it is to be read; absent libraries say so.

    Example:
        >>> environment()["python"].count(".")
        2
    """
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    found |= {name: _version(name) for name in _LIBRARIES}
    return found | _machine() | _devices()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _machine() -> dict[str, str]:
    import psutil

    from tokenseek_common._table import format_bytes

    memory = psutil.virtual_memory()
    return {
        "processor": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} threads",
        "memory": f"{format_bytes(memory.total)}, {format_bytes(memory.available)} available",
    }


def _devices() -> dict[str, str]:
    if _version("torch") == "absent":
        return {}
    import torch

    if not torch.accelerator.is_available():
        return {"devices": "cpu"}
    if not torch.cuda.is_available():
        return {"devices": f"{torch.accelerator.device_count()} of {_accelerator()}"}
    from tokenseek_common._table import format_bytes

    devices = [
        torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())
    ]
    return {
        "devices": ", ".join(f"{d.name} with {format_bytes(d.total_memory)}" for d in devices),
        "cuda": str(torch.version.cuda),
    }


def _accelerator() -> str:
    import torch

    return str(torch.accelerator.current_accelerator())


def main() -> int:
    """Prints one line for each finding."""
    rows = environment()
    widest = max(map(len, rows))
    sys.stdout.writelines(f"{name.ljust(widest)}  {value}\n" for name, value in rows.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
