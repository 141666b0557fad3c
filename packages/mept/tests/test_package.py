import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files

import mept

IMPORT = """
import sys
import mept
loaded = {"accelerate", "tokenseek_core", "promotion"} & set(sys.modules)
assert not loaded, f"import mept loads {loaded}"
"""


def test_import_is_silent_and_loads_neither_accelerate_nor_a_sibling() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_version_is_the_installed_one() -> None:
    assert mept.__version__ == version("mept")


def test_package_says_that_it_is_typed() -> None:
    assert files(mept).joinpath("py.typed").is_file()
