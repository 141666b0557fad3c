import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import mept


def test_version_is_the_installed_one() -> None:
    assert mept.__version__ == version("mept")


def test_package_says_that_it_is_typed() -> None:
    assert files(mept).joinpath("py.typed").is_file()


def test_only_the_binding_and_the_side_of_the_command_line_import_peft() -> None:
    folder = Path(str(files(mept)))
    importing = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"^ *(from|import) peft\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    binding = {"_config.py", "_peft_type.py", "_tuner.py"}
    assert importing == binding | {"training/_fit.py", "training/_prompts.py"}
