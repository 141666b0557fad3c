"""Which parameters are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tokenseek_common._errors import InputError
from tokenseek_common.tuning._patterns import all_matches


def freeze(module: nn.Module, *patterns: str) -> list[str]:
    """Stop training the parameters that the patterns match.

    Args:
        module: Whose.
        patterns: Of their names; a tied parameter has several, and one is enough. None freezes
            nothing, `"*"` everything.

    Returns:
        The names that matched.

    Raises:
        InputError: A pattern matches nothing; no parameter is changed then.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> freeze(model, "0.*")
        ['0.weight', '0.bias']
    """
    return _set(module, patterns, trainable=False)


def unfreeze(module: nn.Module, *patterns: str) -> list[str]:
    """Train the parameters that the patterns match; others stay as they are.

    Args:
        module: Whose.
        patterns: As `freeze` takes them.

    Returns:
        The names that matched.

    Raises:
        InputError: A pattern matches nothing, or what cannot be trained since it is no floating
            point, as quantised weights; no parameter is changed then.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).requires_grad_(False)
        >>> unfreeze(model, "1.*")
        ['1.weight', '1.bias']
    """
    return _set(module, patterns, trainable=True)


@contextmanager
def trainability_restored(module: nn.Module) -> Iterator[None]:
    """Leave the parameters after the block as trainable as they were before, however it ends.

    Args:
        module: Whose parameters; those that the block itself adds are left alone.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> with trainability_restored(model):
        ...     _ = freeze(model, "bias")
        >>> model.bias.requires_grad
        True
    """
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, trainable in before:
            parameter.requires_grad_(trainable)


def _set(module: nn.Module, patterns: tuple[str, ...], *, trainable: bool) -> list[str]:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    names = all_matches(patterns, parameters)
    for name in names:
        parameter = parameters[name]
        if trainable and not (parameter.is_floating_point() or parameter.is_complex()):
            raise InputError(
                f"{name} ({parameter.dtype}) must be floating point to be trained; "
                "choose a pattern that leaves it out"
            )
    for name in names:
        parameters[name].requires_grad_(trainable)
    return names
