"""Let no code of transformers round float64 to float32, which errs by more than 1e-10.

Norms, rotary angles, routers, the softmax of eager attention and losses do so in most models. Our
own packages, and any other caller, cast as ever.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


def spare_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put other casts in place of torch's, until the test ends."""
    to, single, softmax = Tensor.to, Tensor.float, F.softmax

    def spared(tensor: Tensor) -> bool:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        # Integers too: positions are multiplied by frequencies.
        return tensor.dtype in (torch.float64, torch.int64) and caller.startswith("transformers.")

    def to_type(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if spared(self):
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return to(self, *args, **kwargs)

    def to_single(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.double() if spared(self) else single(self, *args, **kwargs)

    def softmax_in(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if spared(input) and kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return softmax(input, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to_type)
    monkeypatch.setattr(Tensor, "float", to_single)
    monkeypatch.setattr(F, "softmax", softmax_in)
