from __future__ import annotations

import pytest

from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.estimate._search import largest_that_fits


@pytest.mark.parametrize("memory", [7, 8, 9, 100, 12_345, 999_999])
@pytest.mark.parametrize("start", [1, 50, 4096])
def test_the_search_finds_the_largest_size_to_a_hundredth(memory: int, start: int) -> None:
    asked = []

    def peak(size: int) -> int:
        asked.append(size)
        return 3 + 2 * size + size**2 // 1000

    fitting = [size for size in range(1, 4097) if 3 + 2 * size + size**2 // 1000 <= memory]
    found = largest_that_fits(peak, memory, start=start, least=1, most=4096)
    assert found is not None
    assert found in fitting
    assert found >= 0.99 * max(fitting)
    assert len(asked) == len(set(asked)) < 25


def test_the_search_says_where_nothing_fits_and_stops_where_all_does() -> None:
    assert largest_that_fits(lambda size: 10 + size, 10, start=8, least=1, most=64) is None
    assert largest_that_fits(lambda size: 10 + size, 10**6, start=8, least=1, most=100) == 100


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("24GB", 24 * 10**9), ("1.5 gib", 3 * 2**29), ("80 KB", 80_000)],
)
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_memory(text) == size
