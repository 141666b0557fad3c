from __future__ import annotations

from typing import Literal, Protocol, Self

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from shape_check import names_a_shape, shapes_only


class Named(Protocol):
    name: str


class Layer:
    @jaxtyped(typechecker=shapes_only)
    def scale(
        self,
        x: Float[Tensor, "b d"],
        by: Float[Tensor, " d"] | None,
        how: Literal["mul"],
        of: Named,
    ) -> Self:
        return self


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="by"):
        Layer().scale(torch.ones(2, 3), torch.ones(4), "mul", of=Layer())  # type: ignore[arg-type]


def test_what_names_no_shape_is_left_to_the_package_itself() -> None:
    Layer().scale(torch.ones(2, 3), None, how="div", of=3)  # type: ignore[arg-type]


def test_shapes_inside_other_types_are_found() -> None:
    assert names_a_shape(dict[str, Float[Tensor, "b d"] | None])
    assert not names_a_shape(dict[str, Tensor | None])
