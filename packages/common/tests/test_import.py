from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("accelerate", "datasets", "matplotlib", "peft", "pandas", "safetensors", "transformers")


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["tokenseek_common", "tokenseek_common.cli", "tokenseek_common.data, tokenseek_common.tuning"],
)
def test_importing_is_silent_and_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (told.stdout, told.stderr, told.returncode) == ("[]\n", "", 0)


def test_the_command_line_does_not_wait_for_torch() -> None:
    code = "import sys, tokenseek_common.cli\nprint('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


@pytest.mark.parametrize("absent", ["rich", "tyro"])
def test_the_command_line_without_its_extra_says_what_to_install(absent: str) -> None:
    code = f"import sys\nsys.modules[{absent!r}] = None\nimport tokenseek_common.cli"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = told.stderr.splitlines()[-1]
    assert last == (
        f'ImportError: tokenseek_common.cli needs {absent}: pip install "tokenseek-common[cli]"'
    )


def test_the_public_names_are_sorted_and_there() -> None:
    import tokenseek_common
    import tokenseek_common.cli
    import tokenseek_common.data
    import tokenseek_common.tuning

    for module in (
        tokenseek_common,
        tokenseek_common.cli,
        tokenseek_common.data,
        tokenseek_common.tuning,
    ):
        assert all(hasattr(module, name) for name in module.__all__)
