from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from two_processes import results_of_two

WORKER = Path(__file__).parents[1] / "tuning_worker.py"
UNUSED = {"unused.weight": "a gradient", "unused.bias": "a gradient"}

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return results_of_two(WORKER, folder)


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
def test_processes_agree_on_what_has_not_moved(wrapper: str, results: list[dict[str, Any]]) -> None:
    assert [result[wrapper] for result in results] == [UNUSED, UNUSED]


def test_a_tensor_that_one_process_holds_alone_is_not_missed_on_the_other(
    results: list[dict[str, Any]],
) -> None:
    assert [result["held"] for result in results] == [1, 0]
    assert all("gain" not in result["fsdp2"] for result in results)


def test_shards_are_counted_as_the_whole(results: list[dict[str, Any]]) -> None:
    assert [result["count"] for result in results] == [[25, 100], [25, 100]]


def test_a_sharded_adapter_is_saved_whole_and_loaded_in_shards(
    folder: Path, results: list[dict[str, Any]]
) -> None:
    file = load_file(folder / "adapter.safetensors")
    for result in results:
        for name, value in result["saved"].items():
            assert torch.equal(file[name], value)
            assert torch.equal(result["loaded"][name], value)
