"""What was trained of a model, in a file of its own, and back into the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokenseek_common._errors import InputError
from tokenseek_common._files import replacing
from tokenseek_common.tuning._patterns import all_matches

_KEY = "adapter"
_SAFETENSORS = 'pip install "tokenseek-common[tuning]"'


@dataclass(frozen=True, kw_only=True)
class AdapterCard:
    """What an adapter's file says of it.

    Args:
        base: The model that it was trained on: a hub id or a name.
        method: How it was trained, as `"LoRA, rank 8"`.
        trained: Patterns of the tensors that were.
        versions: Of the packages that it was trained with.
    """

    base: str
    method: str
    trained: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)


def save_adapter(
    module: nn.Module,
    path: Path,
    *patterns: str,
    base: str,
    method: str,
    versions: Mapping[str, str] | None = None,
) -> AdapterCard:
    """Write the tensors that were trained; a reader never finds half of them.

    Sharded tensors are gathered: all their processes call this, and the first writes.

    Args:
        module: The model, with the adapter.
        path: A `.safetensors` file; what it replaces is gone when the new one is whole.
        patterns: Of what is kept, parameters and persistent buffers, by their names in
            `state_dict`.
        base: As in `AdapterCard`.
        method: The same.
        versions: The same; those of torch and this package are added.

    Returns:
        The card, which is in the file too.

    Raises:
        InputError: A pattern matches nothing, a trainable parameter is left out, or the file
            cannot be written.
        ImportError: safetensors is not installed.

    Example:
        >>> save_adapter(model, Path("adapter.safetensors"), "*.lora_*", base="gpt2", method="LoRA")
    """
    if not patterns:
        raise InputError('patterns (none) must say what is kept; "*" keeps everything')
    state = _tensors(module)
    names = all_matches(patterns, state)
    trainable = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if parameter.requires_grad
    }
    left_out = [name for name in state if name in trainable - set(names)]
    if left_out:
        raise InputError(
            f"patterns ({', '.join(patterns)}) must match all that is trainable, and leave out "
            f"{_listed(left_out)}; add a pattern, or freeze them"
        )
    known = {name: version(name) for name in ("torch", "tokenseek-common")}
    card = AdapterCard(
        base=base, method=method, trained=patterns, versions=known | dict(versions or {})
    )
    _write({name: _whole(state[name]) for name in names}, path, card)
    return card


def load_adapter(module: nn.Module, path: Path, *, base: str | None = None) -> AdapterCard:
    """Put the tensors of an adapter in their places.

    Args:
        module: The model, with an adapter of the same shapes; it keeps its dtypes and devices.
        path: What `save_adapter` wrote.
        base: What the module is; None takes an adapter of any base.

    Returns:
        The adapter's card.

    Raises:
        InputError: The file cannot be read or is of another base, or it has not exactly the
            tensors that its patterns match in the module, in their shapes; the module is as it
            was then.
        ImportError: safetensors is not installed.

    Example:
        >>> load_adapter(model, Path("adapter.safetensors"), base="gpt2").method
        'LoRA'
    """
    card, tensors = _read(path)
    if base is not None and base != card.base:
        raise InputError(
            f"base ({base}) must be {card.base}, which {path} was trained on; "
            "load it into that model"
        )
    state = _tensors(module)
    expected = all_matches(card.trained, state)
    _check_fit(path, {name: state[name] for name in expected}, tensors)
    with torch.no_grad():
        for name, value in tensors.items():
            state[name].copy_(_as_sharded(value, state[name]))
    return card


def read_card(path: Path) -> AdapterCard:
    """Read what an adapter's file says of it.

    Args:
        path: What `save_adapter` wrote.

    Raises:
        InputError: The file cannot be read.
        ImportError: safetensors is not installed.

    Example:
        >>> read_card(Path("adapter.safetensors")).base
        'gpt2'
    """
    with _opened(path) as file:
        return _card_of(path, file.metadata())


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's state, not detached, so that they can be told apart."""
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _whole(tensor: Tensor) -> Tensor:
    """A copy on the CPU, of all shards, which shares no memory with another."""
    gathered: Tensor = getattr(tensor.detach(), "full_tensor", tensor.detach)()
    return gathered.to("cpu", copy=True).contiguous()


def _as_sharded(value: Tensor, like: Tensor) -> Tensor:
    """A tensor in the shards that another is in."""
    if not hasattr(like, "device_mesh"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor  # where torch has it

    assert isinstance(like, DTensor)
    mesh = like.device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, like.placements)


def _write(tensors: dict[str, Tensor], path: Path, card: AdapterCard) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise ImportError(f"save_adapter needs safetensors: {_SAFETENSORS}") from error
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_rank() != 0:
        return
    with replacing(path) as part:
        part.touch()  # whose failure says why; that of safetensors does not
        save_file(tensors, part, metadata={"format": "pt", _KEY: json.dumps(asdict(card))})


def _opened(path: Path) -> Any:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(f"load_adapter needs safetensors: {_SAFETENSORS}") from error
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"adapter ({path}) must be a whole file of save_adapter ({error}); check the path"
        ) from error


def _read(path: Path) -> tuple[AdapterCard, dict[str, Tensor]]:
    with _opened(path) as file:
        card = _card_of(path, file.metadata())
        return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict


def _card_of(path: Path, metadata: Mapping[str, str] | None) -> AdapterCard:
    try:
        content = json.loads((metadata or {})[_KEY])
        return AdapterCard(**content | {"trained": tuple(content["trained"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"adapter ({path}) must say what it is, as files of save_adapter do; "
            "save it by that, or load it by what wrote it"
        ) from error


def _check_fit(path: Path, places: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse an adapter that is not exactly what the module has places for."""
    faults = {
        "lacks": [name for name in places if name not in tensors],
        "has besides": [name for name in tensors if name not in places],
        "has in another shape": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(place.shape)}"
            for name, place in places.items()
            if name in tensors and tensors[name].shape != place.shape
        ],
        "finds on meta": [name for name, place in places.items() if place.is_meta],
    }
    told = [f"{what} {_listed(names)}" for what, names in faults.items() if names]
    if told:
        raise InputError(
            f"adapter ({path}) must fit the module, but it {'; it '.join(told)}; "
            "load it into a model like the one that it was trained in"
        )


def _listed(names: list[str]) -> str:
    """Names in a sentence, the first few."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
