"""How many tokens a model has positions for."""

from __future__ import annotations

from tokenseek_common import InputError


def check_positions(length: int, longest: int | None, *, field: str, source: str) -> None:
    """Refuse more tokens than a model has positions.

    Args:
        length: The tokens of an instance.
        longest: The model's positions; None bounds nothing.
        field: What asks for the length, as settings call it.
        source: The model, as it was asked for.

    Raises:
        InputError: They are too many.
    """
    if longest is not None and length > longest:
        raise InputError(
            f"{field} ({length}) must be at most {longest}, the positions of {source}; "
            f"choose another --{field.replace('_', '-')}"
        )
