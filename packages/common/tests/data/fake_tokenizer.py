"""A word tokenizer with chat templates: these tests need neither transformers nor a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS, EOS = 0, 1
_PIECE = re.compile(r"<\|\w+\|>|</?s>|</?think>| ?\w+|\s|[^\w\s]")
_LETTERS = re.compile(r" ?\w+|\s|[^\w\s]")
_SPECIAL = ("<s>", "</s>", "<|start|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
_MORE_SPECIAL = ("<|channel|>", "<|message|>", "<|return|>")
_OPEN, _SHUT = "\ue0fa", "\ue0fb"


@dataclass(frozen=True)
class AddedToken:
    """As that of transformers."""

    content: str
    special: bool = True


class Generation(Extension):
    """What stands between {% generation %} and {% endgeneration %} is found by its marks."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 has it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        around = [nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in (_OPEN, _SHUT)]
        return [around[0], *body, around[1]]


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)


_JINJA = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation]
)
_JINJA.globals["raise_exception"] = _refuse


@dataclass
class FakeTokenizer:
    """Words with the space before them, marks and special tokens such as <|end|> are tokens."""

    chat_template: str | None = None

    eos_token_id: int | None = EOS
    closes: bool = False
    """Whether the tokenizer itself puts the end-of-sequence token behind a text."""

    segments: bool = False
    """Whether it tells two texts apart by ``token_type_ids``."""

    pieces: list[str] = field(
        default_factory=lambda: [*_SPECIAL, *_MORE_SPECIAL, "<think>", "</think>"]
    )

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return {
            token: AddedToken(piece, special=piece in (*_SPECIAL, *_MORE_SPECIAL))
            for token, piece in enumerate(self.pieces[:12])
        }

    def __call__(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        add_special_tokens: bool,
        split_special_tokens: bool,
        return_offsets_mapping: bool,
        verbose: bool,
    ) -> dict[str, list[int] | list[tuple[int, int]]]:
        assert not verbose
        found = self._located(text, split_special_tokens)
        if add_special_tokens:
            found = [(BOS, (0, 0)), *found, *([(EOS, (0, 0))] if self.closes else [])]
        first = len(found)
        if text_pair is not None:
            found += [*self._located(text_pair, split_special_tokens), (EOS, (0, 0))]
        encoded: dict[str, list[int] | list[tuple[int, int]]] = {
            "input_ids": [token for token, _ in found]
        }
        if return_offsets_mapping:
            encoded["offset_mapping"] = [span for _, span in found]
        if self.segments:
            encoded["token_type_ids"] = [0] * first + [1] * (len(found) - first)
        return encoded

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, **options: Any
    ) -> Any:
        assert self.chat_template is not None
        marked = _JINJA.from_string(self.chat_template).render(
            messages=conversation,
            eos_token="</s>",
            add_generation_prompt=options.get("add_generation_prompt", False),
        )
        text = marked.replace(_OPEN, "").replace(_SHUT, "")
        if not tokenize:
            return text
        assert options["return_dict"]
        assert options["return_assistant_tokens_mask"]
        assert options["tokenizer_kwargs"]["return_offsets_mapping"]
        inside, generated = 0, []  # of each character, whether it is generated
        for character in marked:
            inside += (character == _OPEN) - (character == _SHUT)
            if character not in (_OPEN, _SHUT):
                generated.append(inside)
        found = self._located(text, split=False)
        return {
            "input_ids": [token for token, _ in found],
            "offset_mapping": [span for _, span in found],
            "assistant_masks": [generated[start] for _, (start, _) in found],
        }

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.pieces[token] for token in tokens)

    def _located(self, text: str, split: bool) -> list[tuple[int, tuple[int, int]]]:
        pattern = _LETTERS if split else _PIECE
        return [(self._id(match.group()), match.span()) for match in pattern.finditer(text)]

    def _id(self, piece: str) -> int:
        if piece not in self.pieces:
            self.pieces.append(piece)
        return self.pieces.index(piece)
