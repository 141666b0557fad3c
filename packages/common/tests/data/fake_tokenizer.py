"""A word tokenizer with a chat template: these tests need neither transformers nor a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

BOS, EOS = 0, 1
_PIECE = re.compile(r"<\|\w+\|>| ?\w+|\s|[^\w\s]")


@dataclass
class FakeTokenizer:
    """Words with the space before them, marks and special tokens such as <|end|> are tokens."""

    chat_template: str | None = None
    """None, "chatml", or "forgetful": one that drops all but the last assistant turn's words."""

    eos_token_id: int | None = EOS
    closes: bool = False
    """Whether the tokenizer itself puts the end-of-sequence token behind a text."""

    segments: bool = False
    """Whether it tells two texts apart by ``token_type_ids``."""

    pieces: list[str] = field(default_factory=lambda: ["<s>", "</s>"])

    def __call__(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        add_special_tokens: bool,
        return_offsets_mapping: bool,
        verbose: bool,
    ) -> dict[str, list[int] | list[tuple[int, int]]]:
        assert not verbose
        found = self._located(text)
        if add_special_tokens:
            found = [(BOS, (0, 0)), *found, *([(EOS, (0, 0))] if self.closes else [])]
        first = len(found)
        if text_pair is not None:
            found += [*self._located(text_pair), (EOS, (0, 0))]
        encoded: dict[str, list[int] | list[tuple[int, int]]] = {
            "input_ids": [token for token, _ in found]
        }
        if return_offsets_mapping:
            encoded["offset_mapping"] = [span for _, span in found]
        if self.segments:
            encoded["token_type_ids"] = [0] * first + [1] * (len(found) - first)
        return encoded

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        if conversation and conversation[0]["role"] == "assistant":
            raise ValueError("the user must begin")
        text = ""
        for position, turn in enumerate(conversation):
            last = position == len(conversation) - 1
            forgotten = self.chat_template == "forgetful" and turn["role"] == "assistant"
            content = "" if forgotten and not last else turn["content"]
            text += f"<|start|>{turn['role']}\n{content}<|end|>\n"
        return text + ("<|start|>assistant\n" if add_generation_prompt else "")

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.pieces[token] for token in tokens)

    def _located(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        return [(self._id(match.group()), match.span()) for match in _PIECE.finditer(text)]

    def _id(self, piece: str) -> int:
        if piece not in self.pieces:
            self.pieces.append(piece)
        return self.pieces.index(piece)
