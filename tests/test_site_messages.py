"""What the page about troubleshooting quotes is told by the sources."""

from __future__ import annotations

import ast

import pytest

from site_messages import VALUE, messages, text_of
from site_pages import DOCS, blocks

QUOTED = [
    line
    for block in blocks(DOCS / "troubleshooting.md", "text")
    for line in block.text.splitlines()
    if line
]


@pytest.fixture(scope="module")
def told() -> set[str]:
    return set(messages())


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_that_is_quoted_is_told(message: str, told: set[str]) -> None:
    assert message in told


def test_values_are_left_out_of_messages() -> None:
    (call,) = ast.parse('f(f"a ({b!r}) must" f" be {c:.2f}; d")').body
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    assert text_of(call.value.args[0]) == f"a ({VALUE}) must be {VALUE}; d"
    assert text_of(call.value) is None
