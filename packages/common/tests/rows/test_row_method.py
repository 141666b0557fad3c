from __future__ import annotations

import importlib.metadata
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from torch import nn

from tokenseek_common.rows import row_method


def ours(model: nn.Module, ratio: float) -> AbstractContextManager[object]:
    return nullcontext((model, ratio))


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[importlib.metadata.EntryPoint]:
    points: list[importlib.metadata.EntryPoint] = []

    def of_group(group: str) -> list[importlib.metadata.EntryPoint]:
        assert group == "tokenseek_common.row_methods"
        return points

    monkeypatch.setattr("tokenseek_common.rows._method.entry_points", of_group)
    return points


def point(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, "tokenseek_common.row_methods")


def test_where_no_package_offers_a_method_there_is_none(offered: list[Any]) -> None:
    assert row_method() is None


def test_the_first_method_by_name_is_loaded_and_no_other(offered: list[Any]) -> None:
    offered += [point("zz", "no_such_package:method"), point("ours", f"{__name__}:ours")]
    method = row_method()
    assert method is not None
    model = nn.Linear(1, 1)
    with method(model, 0.25) as given:
        assert given == (model, 0.25)
