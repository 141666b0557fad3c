"""The method written the slow, obvious way, apart from the package.

One input at a time, without padding; prompts mixed by plain loops; rows put in front of the tokens
before each block of an untouched model and taken off behind it; masks and positions by hand.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Prompts = dict[str, Tensor]  # "0.router", "0.experts", "0.shared", "1.router", ...
# Cosine routers have a "0.router_scale" too, the logarithm of what cosines are multiplied by, and
# "0.router_mean" is what they take off before, if it is there.


def mixed(rows: list[Tensor], prompts: Prompts, layer: int, k: int, divisor: int = 0) -> Tensor:
    """The prompt rows of one input at one layer, from the token rows that its router sees."""
    router, experts = prompts[f"{layer}.router"], prompts[f"{layer}.experts"]
    pooled = torch.zeros_like(router[0])
    for row in rows:
        pooled = pooled + row / torch.sqrt((row * row).mean() + 1e-6)
    pooled = pooled / (divisor or max(1, len(rows)))
    pooled = pooled - prompts.get(f"{layer}.router_mean", torch.zeros_like(pooled))
    powers = [
        torch.exp(logit) for logit in logits(pooled, router, prompts.get(f"{layer}.router_scale"))
    ]
    shares = [power / sum(powers) for power in powers]
    best = sorted(range(len(shares)), key=lambda e: float(shares[e].detach()), reverse=True)[:k]
    total = prompts.get(f"{layer}.shared", torch.zeros_like(experts[0]))
    for e in best:
        total = total + shares[e] * experts[e]
    return total


def logits(pooled: Tensor, router: Tensor, log_scale: Tensor | None) -> list[Tensor]:
    """What a router says: products, or of a cosine router scaled cosines; 0 where it sees none."""
    products = [(weights * pooled).sum() for weights in router]
    if log_scale is None:
        return products
    length = torch.sqrt((pooled * pooled).sum()) if bool((pooled != 0).any()) else 1.0
    lengths = [torch.sqrt((weights * weights).sum()) for weights in router]
    scale = torch.exp(log_scale[0])
    return [scale * x / (length * y) for x, y in zip(products, lengths, strict=True)]


def with_prompts(
    tokens: Tensor, carried: Tensor | None, prompts: Prompts, layer: int, seen: list[int], k: int
) -> Tensor:
    """A layer's own rows, or else those that the layer before handed on, and the tokens."""
    if f"{layer}.router" in prompts:
        carried = mixed([tokens[i] for i in seen], prompts, layer, k)
    assert carried is not None
    return torch.cat([carried, tokens])[None]


def causal_mask(length: int, window: int | None) -> Tensor:
    """Zero where a row may look, minus infinity where it may not."""
    mask = torch.full((1, 1, length, length), -math.inf, dtype=torch.float64)
    for i in range(length):
        for j in range(i + 1):
            if window is None or i - j < window:
                mask[0, 0, i, j] = 0
    return mask


def decoder_states(model: Any, prompts: Prompts, ids: Tensor, seen: list[int], k: int) -> Tensor:
    """The last states of the tokens of one sequence, [n, d]."""
    config, rows = model.config, prompts["0.experts"].shape[1]
    total = rows + len(ids)
    body = model.base_model
    positions = torch.arange(total)[None]
    carried: Tensor | None = None
    if config.model_type == "gpt2":  # tokens keep their positions
        tokens = body.wte(ids) + body.wpe(torch.arange(len(ids)))
        for layer, block in enumerate(body.h):
            x = with_prompts(tokens, carried, prompts, layer, seen, k)
            x = block(x, None, causal_mask(total, None))
            carried, tokens = x[0, :rows], x[0, rows:]
        normed: Tensor = body.ln_f(tokens)
        return normed
    if config.model_type == "opt":  # theirs are counted from 2
        body = body.decoder
        tokens = body.embed_tokens(ids) + body.embed_positions.weight[2:][: len(ids)]
        for layer, block in enumerate(body.layers):
            x = with_prompts(tokens, carried, prompts, layer, seen, k)
            x = block(x, attention_mask=causal_mask(total, None))
            carried, tokens = x[0, :rows], x[0, rows:]
        last: Tensor = body.final_layer_norm(tokens)
        return last
    is_neox = config.model_type == "gpt_neox"
    tokens = (body.embed_in if is_neox else body.embed_tokens)(ids)
    for layer, block in enumerate(body.layers):
        x = with_prompts(tokens, carried, prompts, layer, seen, k)
        window = getattr(config, "sliding_window", None)
        if config.model_type == "gemma3_text":
            kind = config.layer_types[layer]
            angles = body.rotary_emb(x, positions, kind)
            window = window if kind == "sliding_attention" else None
        elif config.model_type == "gemma2":
            angles = body.rotary_emb(x, positions)
            window = window if config.layer_types[layer] == "sliding_attention" else None
        else:
            angles = body.rotary_emb(x, positions)
        mask = causal_mask(total, window)
        x = block(x, attention_mask=mask, position_embeddings=angles, position_ids=positions)
        carried, tokens = x[0, :rows], x[0, rows:]
    result: Tensor = (body.final_layer_norm if is_neox else body.norm)(tokens)
    return result


def decoder_logits(model: Any, prompts: Prompts, ids: Tensor, seen: list[int], k: int) -> Tensor:
    """The logits of every token of one sequence, [n, v]."""
    states = decoder_states(model, prompts, ids, seen, k)
    result: Tensor = model.get_output_embeddings()(states)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return result if cap is None else cap * torch.tanh(result / cap)


def encoder_states(
    model: Any,
    prompts: Prompts,
    ids: Tensor,
    k: int,
    *,
    types: Any = None,
    first_position: int = 0,
    seen: list[int] | None = None,
) -> Tensor:
    """The last states of prompt rows and tokens of one input, [p + n, d]."""
    seen = list(range(len(ids))) if seen is None else seen
    family, rows = model.config.model_type, prompts["0.experts"].shape[1]
    bias = None
    carried: Tensor | None = None
    if family == "t5":
        body = model.encoder
        tokens, blocks = body.embed_tokens(ids), body.block
    elif family == "bart":
        body = model.base_model.encoder
        places = body.embed_positions.weight[2 + first_position :][: len(ids)]
        tokens = body.layernorm_embedding(body.embed_tokens(ids) + places)
        blocks = body.layers
    else:
        body = model.base_model
        tokens = body.embeddings(ids[None], token_type_ids=types[None])[0]
        blocks = body.encoder.layer
    for layer, block in enumerate(blocks):
        x = with_prompts(tokens, carried, prompts, layer, seen, k)
        if family == "t5":
            x, bias = block(x, None, bias)[:2]
        else:
            x = block(x, None)
        carried, tokens = x[0, :rows], x[0, rows:]
    assert carried is not None
    states = torch.cat([carried, tokens])
    result: Tensor = body.final_layer_norm(states) if family == "t5" else states
    return result


def seq2seq_logits(
    model: Any,
    prompts: Prompts,
    ids: Tensor,
    decoder_ids: Tensor,
    k: int,
    *,
    first_position: int = 0,
    cross_attend: bool = True,
    seen: list[int] | None = None,
) -> Tensor:
    """The logits of every token of one target, [m, v]."""
    states = encoder_states(model, prompts, ids, k, first_position=first_position, seen=seen)
    if not cross_attend:
        states = states[prompts["0.experts"].shape[1] :]
    decoder = model.base_model.decoder
    x = decoder(decoder_ids[None], encoder_hidden_states=states[None], use_cache=False)[0][0]
    if model.config.model_type == "bart":
        biased: Tensor = model.lm_head(x) + model.final_logits_bias[0]
        return biased
    if model.config.scale_decoder_outputs:
        x = x * model.config.d_model**-0.5
    result: Tensor = model.lm_head(x)
    return result


def token_logits(
    model: Any,
    prompts: Prompts,
    ids: Tensor,
    types: Tensor,
    k: int,
    *,
    seen: list[int] | None = None,
) -> Tensor:
    """The logits of the classes of every token of one input, [n, c]."""
    states = encoder_states(model, prompts, ids, k, types=types, seen=seen)
    result: Tensor = model.classifier(states[prompts["0.experts"].shape[1] :])
    return result


def class_logits(model: Any, prompts: Prompts, ids: Tensor, types: Tensor, k: int) -> Tensor:
    """The logits of the classes of one input, read off its real first or last token, [c]."""
    if model.config.model_type == "llama":
        states = decoder_states(model, prompts, ids, list(range(len(ids))), k)
        scores: Tensor = model.score(states[-1])
        return scores
    tokens = encoder_states(model, prompts, ids, k, types=types)[prompts["0.experts"].shape[1] :]
    bert = model.config.model_type == "bert"
    result: Tensor = model.classifier(model.bert.pooler(tokens[None]) if bert else tokens[None])[0]
    return result


def mean_cross_entropy(logits: list[Tensor], targets: list[Tensor]) -> Tensor:
    """The mean over all targets that are not -100."""
    losses = [
        F.cross_entropy(row, target)
        for rows, wanted in zip(logits, targets, strict=True)
        for row, target in zip(rows, wanted, strict=True)
        if int(target) != -100
    ]
    return torch.stack(losses).mean()


def greedy(model: Any, prompts: Prompts, ids: Tensor, k: int, count: int) -> list[int]:
    """The likeliest tokens, one by one, each by a whole pass; routing sees the prompt alone."""
    seen = list(range(len(ids)))
    for _ in range(count):
        best = decoder_logits(model, prompts, ids, seen, k)[-1].argmax()
        ids = torch.cat([ids, best[None]])
    return ids[len(seen) :].tolist()
