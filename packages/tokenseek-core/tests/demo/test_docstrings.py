from __future__ import annotations

import ast
import importlib
import inspect
import json

import pytest

from tokenseek_common import InputError
from tokenseek_core.demo._docstrings import HELD_OUT_MODULES, TRAIN_MODULES, docstrings, functions


def test_every_record_asks_for_a_name_and_answers_with_its_docstring() -> None:
    texts = docstrings()
    for record in texts.train + texts.held_out:
        asked, answered = record.messages
        name = asked.content.removeprefix("Explain `").removesuffix("`.")
        module, _, member = name.rpartition(".")
        assert (asked.role, answered.role) == ("user", "assistant")
        assert answered.content == inspect.getdoc(getattr(importlib.import_module(module), member))


def test_no_answer_is_told_twice_and_no_module_is_in_both_parts() -> None:
    texts = docstrings()
    answers = [record.messages[1].content for record in texts.train + texts.held_out]
    assert len(answers) == len(set(answers))
    assert not set(TRAIN_MODULES) & set(HELD_OUT_MODULES)
    modules = {
        record.messages[0].content.removeprefix("Explain `").removesuffix("`.").rpartition(".")[0]
        for record in texts.held_out
    }
    assert modules <= set(HELD_OUT_MODULES)


def test_the_order_is_always_the_same_and_every_held_out_module_has_its_say() -> None:
    texts = docstrings()
    assert docstrings() == texts
    asked = " ".join(record.messages[0].content for record in texts.train + texts.held_out)
    assert all(f"Explain `{name}." in asked for name in HELD_OUT_MODULES)
    assert "Explain `os.path.join`." in asked


def test_what_a_module_without_a_list_of_names_imports_is_not_taken_for_its_own() -> None:
    asked = {record.messages[0].content for record in docstrings().train}
    assert "Explain `uuid.uuid5`." in asked
    assert "Explain `uuid.Enum`." not in asked


def test_stripped_docstrings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.dumps, "__doc__", None)
    with pytest.raises(InputError) as refusal:
        docstrings()
    assert str(refusal.value) == (
        "docstrings (none) must be there, the demo learns from them; run Python without -OO"
    )


def test_functions_are_asked_for_by_their_source_and_their_answer_is_not_in_it() -> None:
    texts = functions()
    assert len(texts.train) > 100
    assert len(texts.held_out) > 20
    records = texts.train + texts.held_out
    answers = [record.messages[1].content for record in records]
    assert len(answers) == len(set(answers))
    for record, answer in zip(records, answers, strict=True):
        asked = record.messages[0].content
        head, _, source = asked.partition("\n\n")
        name = head.removeprefix("What does `").removesuffix("` do?")
        module, _, member = name.rpartition(".")
        function = getattr(importlib.import_module(module), member)
        assert (inspect.getdoc(function) or "").startswith(answer)
        assert source.startswith("def ")
        assert ast.get_docstring(ast.parse(source).body[0]) is None  # type: ignore[arg-type]
    assert functions() == texts


def test_without_sources_there_are_no_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(member: object) -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", missing)
    assert functions().train == []
