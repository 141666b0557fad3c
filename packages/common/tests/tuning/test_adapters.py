from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tokenseek_common import InputError
from tokenseek_common.tuning import (
    AdapterCard,
    freeze,
    load_adapter,
    read_card,
    save_adapter,
)


class Net(nn.Module):
    """A frozen base with a low-rank pair, a normalisation that counts, and a tied pair."""

    def __init__(self, seed: int, rank: int = 2) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.base = nn.Linear(4, 4)
        self.lora_a = nn.Linear(4, rank, bias=False)
        self.lora_b = nn.Linear(rank, 4, bias=False)
        self.lora_norm = nn.BatchNorm1d(4)
        self.lora_tied = nn.Linear(4, 4, bias=False)
        self.lora_tied_again = nn.Linear(4, 4, bias=False)
        self.lora_tied_again.weight = self.lora_tied.weight
        freeze(self, "base.*")


def state_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def save(net: nn.Module, path: Path, *patterns: str) -> AdapterCard:
    return save_adapter(net, path, *(patterns or ("lora_*",)), base="tiny", method="LoRA, rank 2")


def test_what_was_saved_is_loaded_and_the_base_stays(tmp_path: Path) -> None:
    trained, fresh = Net(0), Net(1)
    trained.lora_norm(torch.randn(8, 4))  # its running statistics belong to the adapter
    save(trained, tmp_path / "a.safetensors")
    before = state_of(fresh)
    load_adapter(fresh, tmp_path / "a.safetensors", base="tiny")
    after = state_of(fresh)
    for name, value in state_of(trained).items():
        expected = before[name] if name.startswith("base") else value
        assert torch.equal(after[name], expected), name
    assert fresh.lora_tied.weight is fresh.lora_tied_again.weight


def test_the_file_says_what_was_trained_on_what_and_with_which_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    card = save_adapter(
        Net(0), path, "lora_*", base="tiny", method="LoRA", versions={"mept": "0.1"}
    )
    assert card == AdapterCard(
        base="tiny",
        method="LoRA",
        trained=("lora_*",),
        versions={
            "torch": version("torch"),
            "tokenseek-common": version("tokenseek-common"),
            "mept": "0.1",
        },
    )
    assert read_card(path) == card
    assert load_adapter(Net(1), path) == card
    assert list(tmp_path.iterdir()) == [path]


def test_an_adapter_takes_the_precision_of_its_place(tmp_path: Path) -> None:
    trained, fresh = Net(0), Net(1).bfloat16()
    save(trained, tmp_path / "a.safetensors")
    load_adapter(fresh, tmp_path / "a.safetensors")
    assert torch.equal(fresh.lora_a.weight, trained.lora_a.weight.bfloat16())


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tensors of a file, and keep its card."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("lora_a.weight"), "it lacks lora_a.weight"),
        (lambda t: t.update(more=torch.ones(1)), "it has besides more"),
        (
            lambda t: t.update({"lora_a.weight": torch.ones(3, 4)}),
            r"it has in another shape lora_a.weight \(3, 4\) for \(2, 4\)",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if "norm" in name],
            "it lacks lora_norm.weight, lora_norm.bias, lora_norm.running_mean and 2 more",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save(Net(0), path)
    rewritten(path, change)
    net = Net(1)
    before = state_of(net)
    told = rf"^adapter \({path}\) must fit the module, but {told}; load it into a model like the"
    with pytest.raises(InputError, match=told):
        load_adapter(net, path)
    assert all(torch.equal(value, before[name]) for name, value in state_of(net).items())


def test_a_module_with_more_places_than_the_file_has_tensors_is_refused(tmp_path: Path) -> None:
    save(Net(0), tmp_path / "a.safetensors")
    larger = Net(1)
    larger.lora_c = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"but it lacks lora_c\.weight, lora_c\.bias; load it"):
        load_adapter(larger, tmp_path / "a.safetensors")


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(Net(0), path)
    told = rf"^base \(large\) must be tiny, which {path} was trained on; load it into that model$"
    with pytest.raises(InputError, match=told):
        load_adapter(Net(1), path, base="large")


def test_a_module_on_meta_takes_no_adapter(tmp_path: Path) -> None:
    save(Net(0), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"but it finds on meta lora_a\.weight, "):
        load_adapter(Net(1).to("meta"), tmp_path / "a.safetensors")


def test_trained_tensors_that_the_patterns_leave_out_are_told(tmp_path: Path) -> None:
    told = (
        r"^patterns \(lora_a\.\*, lora_b\.\*\) must match all that is trainable, and leave out "
        r"lora_norm\.weight, lora_norm\.bias, lora_tied\.weight and 1 more; "
        r"add a pattern, or freeze them$"
    )
    with pytest.raises(InputError, match=told):
        save(Net(0), tmp_path / "a.safetensors", "lora_a.*", "lora_b.*")
    with pytest.raises(InputError, match=r'^patterns \(none\) must say what is kept; "\*" keeps'):
        save_adapter(Net(0), tmp_path / "a.safetensors", base="tiny", method="LoRA")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"must be a whole file of save_adapter \(.+\); check the path$"),
        (None, r"must be a whole file of save_adapter \(No such file.*\); check the path$"),
        ({}, r"must say what it is, as files of save_adapter do; save it by that, or load it"),
        ({"adapter": '{"base": "x"}'}, r"must say what it is"),
        ({"adapter": "[]"}, r"must say what it is"),
    ],
)
def test_a_file_that_is_no_adapter_is_refused(content: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file({"weight": torch.ones(1)}, path, metadata=content)
    with pytest.raises(InputError, match=rf"^adapter \({path}\) {told}"):
        read_card(path)


def test_a_file_cut_off_in_its_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(Net(0), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="must be a whole file of save_adapter"):
        load_adapter(Net(1), path)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.safetensors"
    with pytest.raises(InputError, match=rf"^{path} must be writable \(No such file"):
        save(Net(0), path)


def test_without_safetensors_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    told = r'^save_adapter needs safetensors: pip install "tokenseek-common\[tuning\]"$'
    with pytest.raises(ImportError, match=told):
        save(Net(0), tmp_path / "a.safetensors")
