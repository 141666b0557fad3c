"""What `import` may do, and whether the examples of the docstrings hold."""

import doctest
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from tokenseek_common import _storages, _table, memory
from tokenseek_common.memory import _books, _peak

torch.set_num_threads(1)


@pytest.mark.slow
def test_the_import_is_silent_and_light() -> None:
    program = (
        "import sys, tokenseek_common.memory\n"
        "heavy = {'transformers', 'datasets', 'peft', 'matplotlib', 'rich', "
        "'torch.distributed._tools'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_numpy_comes_along_without_which_torch_would_warn() -> None:
    required = importlib.metadata.requires("tokenseek-common") or []
    assert any(name.startswith("numpy>=") and "extra" not in name for name in required)


def test_the_public_names_are_sorted() -> None:
    assert memory.__all__ == sorted(memory.__all__)


@pytest.mark.parametrize(
    "documented",
    [
        # the two need a GPU, and an extra
        *(
            getattr(memory, n)
            for n in memory.__all__
            if n not in ("cuda_snapshot", "plot_timeline")
        ),
        _books.Books,
        _peak.Peak,
        _storages.storages_of,
        _table.align,
        _table.format_share,
    ],
    ids=lambda documented: documented.__name__,
)
def test_the_examples_hold(documented: Callable[..., object]) -> None:
    names = {name: getattr(memory, name) for name in memory.__all__} | {"torch": torch}
    names[documented.__name__] = documented
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(documented, globs=names):
        runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0
