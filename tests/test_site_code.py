"""Every Python block of the documentation and the READMEs runs, page by page."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest
import torch

from site_pages import PAGES, READMES, Block, blocks
from site_stage import MADE, Routed, Stage, files, stage, texts, write_exports
from workspace import ROOT

__all__ = ["files", "stage"]  # fixtures
pytestmark = [pytest.mark.site]
WITH_CODE = [page for page in [*PAGES, *READMES] if blocks(page, "python")]


def missing(code: list[Block]) -> set[str]:
    """The names that some block reads and none makes."""
    read, made = set(), set(dir(builtins))
    for node in (node for block in code for node in ast.walk(ast.parse(block.text))):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name):
                made.add(name)
            case ast.Import() | ast.ImportFrom():
                made |= {(each.asname or each.name).split(".")[0] for each in node.names}
            case ast.FunctionDef() | ast.ClassDef():
                made.add(node.name)
            case ast.arg(arg=name):
                made.add(name)
    return read - made


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, stage: Stage) -> None:
    code = blocks(page, "python")
    if page.parent.name == "common":
        model = Routed()
        batch = {"states": texts()["input_ids"][:, :4] / 40}
        optimizer = torch.optim.AdamW(model.parameters())
        stage.names |= {"model": model, "batch": batch, "optimizer": optimizer}
    if page.name == "export.md":
        write_exports(stage.folder)
    stage.provide(missing(code) - stage.names.keys())
    for block in code:
        source = "\n" * block.line + block.text
        exec(compile(source, block.place, "exec"), stage.names)


def test_the_code_takes_no_name_for_granted_that_nobody_provides() -> None:
    code = [Block(ROOT, 1, "python", "import a.b\nx, y = a, nowhere\nprint(model, x)\n")]
    assert missing(code) == {"nowhere", "model"}
    assert missing(code) - MADE.keys() == {"nowhere"}
