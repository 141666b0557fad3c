from __future__ import annotations

import importlib
import inspect
import json

import pytest

from tokenseek_common import InputError
from tokenseek_core.demo._docstrings import HELD_OUT_MODULES, TRAIN_MODULES, docstrings


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
