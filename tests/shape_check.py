"""Checks the shapes in annotations, and nothing else that they say, while the tests run.

`pytest --jaxtyping-packages=<module>,shape_check.shapes_only` applies it to every function of a
package. A wrong `Literal` passes, as does a stand-in for a `Protocol`: what the package itself says
about it is what the tests are for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray


def names_a_shape(hint: Any) -> bool:
    """Say whether `Float[Tensor, "b s"]` or its like is, or is inside, an annotation."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    if get_origin(hint) is Callable:  # what it takes and gives shows when it is called
        return False
    return any(names_a_shape(inner) for inner in get_args(hint))


def shapes_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the annotations of a function that name a shape, and forget the others."""
    # jaxtyping hands over a copy of each signature, so nobody misses what is taken away here.
    function.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if names_a_shape(hint)
    }
    return beartype(function)
