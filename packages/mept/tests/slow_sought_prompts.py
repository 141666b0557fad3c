"""TokenSeek's gradient of prompts, written the slow, obvious way, apart from both packages.

One input at a time, all rows, through the blocks of an untouched model. Tokens that are not kept
are constants wherever another row reads them: as keys, as values, and where a router pools them.
Prompt rows never are. The experts are those of a pass without gradient over all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from reference import Prompts, causal_mask, logits

Choose = Callable[[int, Tensor], list[int]]  # a layer's number and its shares, to its experts
Routing = dict[int, list[int]]  # the experts of each layer

selected: Tensor | None = None  # [r], True where a row's key and value carry gradient


def stopping_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """o_i = sum_j softmax_j(q_i . k~_j * scaling + M_ij) v~_j, k~_j = k_j if j is kept, else sg."""
    assert selected is not None
    keep = selected[:, None]
    key = torch.where(keep, key, key.detach())
    value = torch.where(keep, value, value.detach())
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(-1, -2) * scaling + attention_mask
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("slow_sought_prompts", stopping_attention)


@contextmanager
def stopping(model: Any, keep: Tensor) -> Iterator[None]:
    """Let the attention of a model stop gradients while a block runs."""
    global selected
    before = model.config._attn_implementation
    model.set_attn_implementation("slow_sought_prompts")
    selected = keep
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        selected = None


def kept_rows(keep: Tensor, rows: int) -> Tensor:
    """Which of prompt rows and tokens carry gradient, [p + n]."""
    return torch.cat([torch.ones(rows, dtype=torch.bool), keep])


def pooled(tokens: Tensor, seen: list[int], keep: Tensor) -> Tensor:
    """The mean of the tokens that the router sees, scaled to unit root mean square, [d]."""
    total = torch.zeros_like(tokens[0])
    for i in seen:
        row = tokens[i] if keep[i] else tokens[i].detach()
        total = total + row / torch.sqrt((row * row).mean() + 1e-6)
    return total / max(1, len(seen))


def mixed(
    tokens: Tensor, prompts: Prompts, layer: int, seen: list[int], keep: Tensor, choose: Choose
) -> Tensor:
    """The prompt rows of one input at one layer, [p, d]."""
    router, experts = prompts[f"{layer}.router"], prompts[f"{layer}.experts"]
    pool = pooled(tokens, seen, keep)
    said = logits(pool, router, prompts.get(f"{layer}.router_scale"))
    shares = torch.stack(said).softmax(0)
    total = prompts.get(f"{layer}.shared", torch.zeros_like(experts[0]))
    for e in choose(layer, shares):
        total = total + shares[e] * experts[e]
    return total


def token_logits(
    model: Any, prompts: Prompts, ids: Tensor, seen: list[int], keep: Tensor, choose: Choose
) -> Tensor:
    """The logits of every token of one input, [n, v]; without prompts, those of the plain model."""
    blocks = range(model.config.num_hidden_layers)
    rows = run_blocks(model, prompts, embed(model, ids), blocks, seen, keep, choose)
    return head(model, rows[-len(ids) :])


def embed(model: Any, ids: Tensor) -> Tensor:
    """What the first block is given of the tokens."""
    body = model.base_model
    if model.config.model_type == "gpt2":
        learned: Tensor = body.wte(ids) + body.wpe(torch.arange(len(ids)))
        return learned
    rotated: Tensor = body.embed_tokens(ids)
    return rotated


def run_blocks(
    model: Any,
    prompts: Prompts,
    rows: Tensor,
    layers: range,
    seen: list[int],
    keep: Tensor,
    choose: Choose,
) -> Tensor:
    """Run some blocks on the rows in front of them; the tokens alone, [n, d], to [p + n, d]."""
    gpt2, body = model.config.model_type == "gpt2", model.base_model
    count = prompts["0.experts"].shape[1] if prompts else 0
    mask = causal_mask(count + len(keep), None)
    positions = torch.arange(count + len(keep))[None]
    with stopping(model, kept_rows(keep, count)):
        for layer in layers:
            carried, tokens = rows[: -len(keep)], rows[-len(keep) :]
            if f"{layer}.router" in prompts:
                carried = mixed(tokens, prompts, layer, seen, keep, choose)
            x = torch.cat([carried, tokens])[None]
            if gpt2:
                rows = body.h[layer](x, None, mask)[0]
            else:
                angles = body.rotary_emb(x, positions)
                rows = body.layers[layer](
                    x, attention_mask=mask, position_embeddings=angles, position_ids=positions
                )[0]
    return rows


def head(model: Any, tokens: Tensor) -> Tensor:
    """The logits of the last states of some tokens."""
    body = model.base_model
    norm = body.ln_f if model.config.model_type == "gpt2" else body.norm
    logits: Tensor = model.lm_head(norm(tokens))
    return logits


def recorded_routing(model: Any, prompts: Prompts, ids: Tensor, seen: list[int], k: int) -> Routing:
    """The likeliest experts of each layer, from a pass without gradient over all rows."""
    found: Routing = {}

    def likeliest(layer: int, shares: Tensor) -> list[int]:
        found[layer] = sorted(range(len(shares)), key=lambda e: float(shares[e]), reverse=True)[:k]
        return found[layer]

    with torch.no_grad():
        token_logits(model, prompts, ids, seen, torch.ones(len(ids), dtype=torch.bool), likeliest)
    return found


def sought_loss(
    model: Any,
    prompts: Prompts,
    batch: dict[str, Tensor],
    scope: Tensor,
    keep: Tensor,
    k: int = 2,
    routings: list[Routing] | None = None,
) -> Tensor:
    """L = sum_i (n_i / N) * mean of the cross-entropies of the kept supervised rows.

    Args:
        model: An untouched decoder.
        prompts: Experts and routers, by layer; there may be none.
        batch: Tokens, labels and the mask of padding, [b, n].
        scope: What routers may look at, [b, n].
        keep: Tokens that are kept, [b, n].
        k: Experts that an input is routed to.
        routings: Those of each input in place of the recorded ones.
    """
    losses, counts = [], []
    for i, real in enumerate(batch["attention_mask"].bool()):
        ids, kept = batch["input_ids"][i][real], keep[i][real]
        seen = scope[i][real].nonzero().flatten().tolist()
        routing = routings[i] if routings else recorded_routing(model, prompts, ids, seen, k)
        logits = token_logits(model, prompts, ids, seen, kept, of_record(routing))
        targets = next_tokens(batch["labels"][i][real])
        count = (targets != -100).sum()
        losses.append(count * mean_of_kept(logits, targets, kept))
        counts.append(count)
    return torch.stack(losses).sum() / torch.stack(counts).sum()


def injected_loss(
    model: Any,
    prompts: Prompts,
    batch: dict[str, Tensor],
    scope: Tensor,
    keep: Tensor,
    k: int = 2,
    importance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The dense loss, and what stands in for it where gradients are injected.

    The last block is dense from its input z on, which gets the adjoint G. Below it, keys, values
    and pools are stopped, and the gradient is that of sum_{t in S'} w_t <sg(G_t), z_t>, where S'
    are the kept tokens and all prompt rows, w their importance, 1 for prompt rows.

    Returns:
        The loss, and a number whose gradient is that of the step.
    """
    total = (next_tokens(batch["labels"]) != -100).sum()
    last = model.config.num_hidden_layers - 1
    losses, stand_ins = [], []
    for i, real in enumerate(batch["attention_mask"].bool()):
        ids, kept = batch["input_ids"][i][real], keep[i][real]
        seen = scope[i][real].nonzero().flatten().tolist()
        choose = of_record(recorded_routing(model, prompts, ids, seen, k))

        z = run_blocks(model, prompts, embed(model, ids), range(last), seen, kept, choose)
        cut, every = z.detach().requires_grad_(), torch.ones_like(kept)
        rows = run_blocks(model, prompts, cut, range(last, last + 1), seen, every, choose)
        logits = head(model, rows[-len(ids) :])
        loss = F.cross_entropy(logits, next_tokens(batch["labels"][i][real]), reduction="sum")
        (adjoint,) = torch.autograd.grad(loss, cut, retain_graph=True)

        weights = torch.ones(len(ids)).to(z) if importance is None else importance[i][real]
        weights = F.pad(kept * weights, (len(z) - len(ids), 0), value=1)
        losses.append(loss / total)
        stand_ins.append((loss + (weights[:, None] * adjoint * z).sum()) / total)
    return torch.stack(losses).sum(), torch.stack(stand_ins).sum()


def of_record(routing: Routing) -> Choose:
    """Take the experts that were recorded, whatever the shares are now."""
    return lambda layer, shares: routing[layer]


def next_tokens(labels: Tensor) -> Tensor:
    """The target of each row, -100 where there is none."""
    return F.pad(labels[..., 1:], (0, 1), value=-100)


def mean_of_kept(logits: Tensor, targets: Tensor, keep: Tensor) -> Tensor:
    """The mean cross-entropy of the kept rows of an input that have a target, 0 if none has."""
    counted = keep & (targets != -100)
    return F.cross_entropy(logits[counted], targets[counted]) if counted.any() else 0 * logits.sum()
