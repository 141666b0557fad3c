"""Parameters in groups, as optimizers take them: a learning rate and a decay for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tokenseek_common._errors import InputError
from tokenseek_common.tuning._patterns import all_matches, matches


def parameter_groups(
    module: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    learning_rates: Mapping[str, float] | None = None,
    no_decay: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Put every trainable parameter in exactly one group.

    Args:
        module: Whose parameters.
        learning_rate: Of those that no pattern matches.
        weight_decay: Of those that decay.
        learning_rates: Of those that a pattern matches; the first pattern that does counts.
        no_decay: Patterns of those that do not decay. By default the parameters of norms and
            embeddings, biases, and whatever has fewer than two dimensions.

    Returns:
        Groups for an optimizer, those that no pattern of `learning_rates` matches first, then one
        pattern after the other, each with what decays before what does not; none is empty.

    Raises:
        InputError: A number is negative or not finite, nothing is trainable, or a pattern matches
            no trainable parameter, or, of `learning_rates`, none that an earlier one leaves.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> groups = parameter_groups(model, learning_rate=1e-3, weight_decay=0.1)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.1), (3, 0.0)]
    """
    rates = dict(learning_rates or {})
    _check(learning_rate=learning_rate, weight_decay=weight_decay)
    _check(**{f"learning rate of {pattern}": rate for pattern, rate in rates.items()})
    named = module.named_parameters(remove_duplicate=False)
    names = {name: parameter for name, parameter in named if parameter.requires_grad}
    if not names:
        raise InputError("module (all frozen) must have a trainable parameter; unfreeze one")
    still = _undecaying(module) if no_decay is None else all_matches(no_decay, names)
    spared = {id(names[name]) for name in still if name in names}

    left = {id(parameter): parameter for parameter in names.values()}  # tied ones once
    patterned: list[tuple[float, list[nn.Parameter]]] = []
    for pattern, rate in rates.items():
        taken = {id(names[name]) for name in matches(pattern, names)}
        chosen = [left.pop(key) for key in list(left) if key in taken]
        if not chosen:
            raise InputError(
                f"pattern ({pattern}) must match a parameter that no earlier one does; "
                "put it first, or leave it out"
            )
        patterned.append((rate, chosen))
    groups = []
    for rate, parameters in [(learning_rate, list(left.values())), *patterned]:
        for decay, is_spared in ((weight_decay, False), (0.0, True)):
            members = [p for p in parameters if (id(p) in spared) == is_spared]
            if members:
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    return groups


def _undecaying(module: nn.Module) -> list[str]:
    """Names of norms' and embeddings' parameters, of biases, and of vectors and scalars."""
    return [
        f"{path}.{name}" if path else name
        for path, owner in module.named_modules(remove_duplicate=False)
        for name, parameter in owner.named_parameters(recurse=False, remove_duplicate=False)
        if isinstance(owner, nn.Embedding | nn.EmbeddingBag)
        or "norm" in type(owner).__name__.lower()
        or "bias" in name
        or parameter.ndim < 2
    ]


def _check(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 <= number < math.inf:
            raise InputError(f"{name} ({number}) must be at least 0 and finite; choose another")
