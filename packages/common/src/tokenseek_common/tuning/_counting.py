"""How much of a model is trained, frozen and stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from tokenseek_common._errors import InputError
from tokenseek_common._storages import dense_parts
from tokenseek_common._table import align, format_bytes


@dataclass(frozen=True)
class PartCount:
    """The parameters of a part of a model.

    Args:
        trainable: Numbers that are trained.
        frozen: Numbers that are not.
        stored: Bytes of both.
    """

    trainable: int
    frozen: int
    stored: int


@dataclass(frozen=True)
class ParameterCount:
    """The parameters of a model.

    Args:
        parts: Of each part, by its name; every parameter is in one.

    Example:
        >>> print(count_parameters(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))).table())
        module  trained  frozen  stored
        0            12       0    48 B
        1             5       0    20 B
        all          17       0    68 B
    """

    parts: Mapping[str, PartCount]

    @property
    def trainable(self) -> int:
        """Numbers that are trained."""
        return sum(part.trainable for part in self.parts.values())

    @property
    def frozen(self) -> int:
        """Numbers that are not."""
        return sum(part.frozen for part in self.parts.values())

    @property
    def stored(self) -> int:
        """Bytes of both."""
        return sum(part.stored for part in self.parts.values())

    @property
    def summary(self) -> dict[str, Any]:
        """The sums, and the parts by name."""
        sums = {"trainable": self.trainable, "frozen": self.frozen, "stored": self.stored}
        return sums | {"parts": {name: asdict(part) for name, part in self.parts.items()}}

    def to_json(self) -> str:
        """Write the summary as JSON."""
        return json.dumps(self.summary)

    def table(self) -> str:
        """Write the parts and their sum as aligned plain text."""
        _, columns, rows = self.cells()
        return align([columns, *(list(map(str, row)) for row in rows)])

    def cells(self) -> tuple[str, list[str], list[list[object]]]:
        """Give a title, headings and rows, as `Console.table` of the command lines takes them."""
        sums = PartCount(self.trainable, self.frozen, self.stored)
        numbers = sums.trainable + sums.frozen
        share = f"{sums.trainable / max(numbers, 1):.2%}"
        rows: list[list[object]] = [
            [name or "(root)", part.trainable, part.frozen, format_bytes(part.stored)]
            for name, part in [*self.parts.items(), ("all", sums)]
        ]
        title = f"Parameters, {share} trained"
        return title, ["module", "trained", "frozen", "stored"], rows


def count_parameters(module: nn.Module, *, depth: int = 2) -> ParameterCount:
    """Count the parameters of a model, by its parts.

    A tied parameter is counted once, where it comes first. Of sharded tensors all shards are
    counted, wherever they lie; of tensors on meta what they would take. A quantised weight counts
    as the numbers that it stands for, and as the bytes that it is packed into with its scales.

    Args:
        module: The model.
        depth: Names of modules that make a part, below the last module that has everything in it.
            Numbered modules, as the layers of a stack, are one part.

    Returns:
        The count.

    Raises:
        InputError: The shape of a parameter is not known yet.

    Example:
        >>> count = count_parameters(nn.Linear(2, 1))
        >>> count.trainable, count.frozen, count.stored
        (3, 0, 12)
    """
    parameters: dict[str, nn.Parameter] = {}
    seen = set()
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise InputError(
                f"{name} (lazy) must have a shape; run a batch through the model before"
            )
        place = _place_of(parameter)
        if place not in seen:  # several parameters may share their memory
            parameters[name] = parameter
            seen.add(place)
    parts: dict[str, PartCount] = {}
    for name, part in _part_names(list(parameters), depth).items():
        numbers, stored = _numbers_of(parameters[name]), _bytes_of(parameters[name])
        trainable = numbers if parameters[name].requires_grad else 0
        before = parts.get(part, PartCount(0, 0, 0))
        parts[part] = PartCount(
            before.trainable + trainable,
            before.frozen + numbers - trainable,
            before.stored + stored,
        )
    return ParameterCount(parts)


def _part_names(names: list[str], depth: int) -> dict[str, str]:
    """The part that each parameter is counted in."""
    paths = {name: name.split(".")[:-1] for name in names}
    together = zip(*paths.values(), strict=False)
    whole = len(list(takewhile(lambda level: len(set(level)) == 1, together)))
    parts = {}
    for name, path in paths.items():
        below = path[whole : whole + depth]
        stack = [*takewhile(lambda level: not level.isdigit(), below)] or below[:1]
        parts[name] = ".".join(path[:whole] + stack)
    return parts


def _place_of(parameter: nn.Parameter) -> object:
    """Equal for parameters that are the same numbers in memory."""
    views = [
        (part.untyped_storage()._cdata, part.storage_offset(), part.shape, part.stride())
        for part in dense_parts(parameter)
    ]
    return tuple(views) or id(parameter)


def _numbers_of(parameter: nn.Parameter) -> int:
    """How many numbers it is; bitsandbytes keeps the shape of what it has packed."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", parameter.shape)
    return math.prod(shape)


def _bytes_of(parameter: nn.Parameter) -> int:
    """How many bytes it is stored in, with the scales that quantised weights come with."""
    scales = sum(t.nbytes for t in _tensors_in(getattr(parameter, "quant_state", None)))
    wraps: Any = is_traceable_wrapper_subclass(parameter)
    if wraps and not hasattr(parameter, "to_local"):  # a sharded one has its whole shape
        return scales + sum(part.nbytes for part in dense_parts(parameter))
    return scales + parameter.numel() * parameter.element_size()


def _tensors_in(state: object) -> Iterator[Tensor]:
    """The tensors of bitsandbytes' state, whose scales may be quantised and have one too."""
    for value in vars(state).values() if state is not None else ():
        if isinstance(value, Tensor):
            yield value
        elif type(value) is type(state):
            yield from _tensors_in(value)
