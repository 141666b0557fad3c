import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import mept


def test_version_is_the_installed_one() -> None:
    assert mept.__version__ == version("mept")


def test_package_says_that_it_is_typed() -> None:
    assert files(mept).joinpath("py.typed").is_file()


def test_only_the_binding_imports_peft() -> None:
    importing = {
        path.name
        for path in Path(str(files(mept))).glob("*.py")
        if re.search(r"^ *(from|import) peft\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == {"_config.py", "_peft_type.py", "_tuner.py"}
