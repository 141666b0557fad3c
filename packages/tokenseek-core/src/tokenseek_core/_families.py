"""The models that are tested, by transformers' `model_type`, and what to know of each.

Nothing here switches anything on: others run too where the self-check lets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """A tested family of models.

    Args:
        name: What people call it.
        notes: What its user must know, in sentences; mostly nothing.
        attention: The attn_implementation that it must be loaded with, where the default of some
            versions of transformers is another.
        reads: The row that a head which pools one row reads. It is always kept, also by heads that
            read more: tokens that stand at an end for a whole instance.
    """

    name: str
    notes: tuple[str, ...] = ()
    attention: str | None = None
    reads: Literal["first", "last"] = "last"


_WINDOWS = "Sliding windows are replayed as recorded."
_PICTURES = (
    "Tokens are kept in the text decoder, those that stand for pictures among them; the tower that "
    "makes them runs whole in both passes, with its gradient where it is trained."
)
_TWO_STACKS = "Of what the encoder reads and of what the decoder writes a share each is kept."
_EXPERTS = (
    "Routing is each token's own, so replayed tokens take the same experts; the load-balancing "
    "loss (output_router_logits=True) needs all tokens and is refused.",
)

FAMILIES: dict[str, Family] = {
    "llama": Family("Llama"),
    "qwen2": Family("Qwen2"),
    "qwen3": Family("Qwen3"),
    "qwen3_moe": Family("Qwen3-MoE", _EXPERTS),
    "mistral": Family("Mistral", (_WINDOWS,)),
    "mixtral": Family("Mixtral", _EXPERTS),
    "gemma": Family("Gemma"),
    "gemma2": Family(
        "Gemma 2",
        (
            'Load it with attn_implementation="eager", the default of newer versions of '
            'transformers; "sdpa" cannot cap attention logits and is refused.',
            _WINDOWS,
        ),
        attention="eager",
    ),
    "gemma3_text": Family(
        "Gemma 3 (text)",
        (_WINDOWS,),
    ),
    "phi3": Family(
        "Phi-3",
        ("The frequencies of long-context variants are those of the whole batch.",),
    ),
    "gpt2": Family("GPT-2"),
    "gpt_neox": Family("GPT-NeoX"),
    "opt": Family(
        "OPT",
        ("Without position_ids, positions come from the attention mask, in the replay too.",),
    ),
    "gemma3": Family("Gemma 3", (_PICTURES, _WINDOWS)),
    "llava": Family("LLaVA", (_PICTURES,)),
    "qwen2_vl": Family("Qwen2-VL", (_PICTURES,)),
    "t5": Family("T5", (_TWO_STACKS,)),
    "bart": Family("BART", (_TWO_STACKS,)),
    "whisper": Family("Whisper", (_TWO_STACKS,)),
    "bert": Family("BERT", reads="first"),
    "roberta": Family("RoBERTa", reads="first"),
    "distilbert": Family("DistilBERT", reads="first"),
    "electra": Family("ELECTRA", reads="first"),
    "modernbert": Family("ModernBERT", (_WINDOWS,), reads="first"),
    "vit": Family("ViT", reads="first"),
    "deit": Family("DeiT", reads="first"),
    "dinov2": Family("DINOv2", reads="first"),
    "siglip": Family("SigLIP (vision tower)", reads="first"),
}


def family_names() -> str:
    """The names of the tested families, as a sentence lists them."""
    *names, last = (family.name for family in FAMILIES.values())
    return f"{', '.join(names)} and {last}"
