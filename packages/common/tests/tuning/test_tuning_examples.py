from __future__ import annotations

import doctest
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tokenseek_common import tuning

NEED_FILES = {"load_adapter", "read_card", "save_adapter"}  # tested in test_adapters


@pytest.mark.parametrize("name", sorted({*tuning.__all__} - NEED_FILES))
def test_the_examples_hold(name: str) -> None:
    documented: Callable[..., object] = getattr(tuning, name)
    names = {name: getattr(tuning, name) for name in tuning.__all__} | {"torch": torch, "nn": nn}
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(documented, globs=names):
        runner.run(example)
    assert runner.failures == 0
