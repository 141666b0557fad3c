"""A step with prompts as two passes, of which the second runs the kept rows alone.

It shows that what `tokenseek_common.rows` says is all that two packages need to know of each other.
Batched, through the blocks of an untouched decoder with experts in every layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from reference import Prompts, causal_mask, logits
from tokenseek_common.rows import RowRecord, RowSelection, anchored


class Recorded(NamedTuple):
    """What a router keeps of pass one."""

    pooled: Tensor
    """The mean that it saw, [b, d]."""
    chosen: Tensor
    """The experts that it took, [b, k]."""


class TwoPasses:
    """Records all rows of a batch, then replays some.

    Args:
        model: The decoder.
        prompts: Experts and routers, by layer.
        batch: Tokens, positions and the mask of padding, [b, n].
        scope: What routers may look at, [b, n].
        chosen: Experts of each layer that were drawn, in place of the `k` likeliest.
    """

    def __init__(
        self,
        model: Any,
        prompts: Prompts,
        batch: dict[str, Tensor],
        scope: Tensor,
        k: int = 2,
        chosen: dict[str, Tensor] | None = None,
    ) -> None:
        self.model, self.prompts, self.batch, self.scope = model, prompts, batch, scope
        self.k, self.chosen = k, chosen or {}
        self.count = scope.sum(1, keepdim=True).clamp(min=1)
        self.states: dict[tuple[nn.Module, str], Tensor] = {}
        self.routing: dict[str, object] = {}
        self.tokens = self.rows = RowSelection.of(torch.ones_like(scope))
        self.replaying = False

    def logits(self, keep: Tensor) -> Tensor:
        """The logits of the tokens of a selection, [b, k, v], from pass two."""
        global current
        p, b = self.prompts["0.experts"].shape[1], len(keep)
        positions = torch.cat(
            [torch.arange(p).expand(b, -1), self.batch["position_ids"] + p], dim=1
        )
        mask = self.mask(p)
        before, current = self.model.config._attn_implementation, self
        self.model.set_attn_implementation("replayed_prompts")
        with torch.no_grad():
            self.run(positions, mask)
        self.replaying, self.tokens = True, RowSelection.of(keep)
        self.rows = replace(self.tokens.with_prepended(p), routing=self.routing)
        found = self.run(self.rows.rows(positions), self.rows.rows(mask[:, 0])[:, None])
        self.model.set_attn_implementation(before)
        return found

    def mask(self, p: int) -> Tensor:
        """What prompt rows and tokens may look at, [b, 1, p + n, p + n]."""
        real = F.pad(self.batch["attention_mask"].bool(), (p, 0), value=True)
        mask = causal_mask(real.shape[1], None).expand(len(real), -1, -1, -1)
        return mask.masked_fill(~real[:, None, None], -torch.inf)

    def run(self, positions: Tensor, mask: Tensor) -> Tensor:
        """Run tokens through the blocks, behind the rows that each layer makes of them."""
        gpt2, body = self.model.config.model_type == "gpt2", self.model.base_model
        ids, places = (self.tokens.rows(self.batch[n]) for n in ("input_ids", "position_ids"))
        tokens = body.wte(ids) + body.wpe(places) if gpt2 else body.embed_tokens(ids)
        for layer, block in enumerate(body.h if gpt2 else body.layers):
            prompts = self.prompt_rows(str(layer), tokens)
            x = torch.cat([prompts, tokens], dim=1)
            if gpt2:
                x = block(x, None, mask)
            else:
                angles = body.rotary_emb(x, positions)
                x = block(
                    x, attention_mask=mask, position_embeddings=angles, position_ids=positions
                )
            tokens = x[:, prompts.shape[1] :]
        logits: Tensor = self.model.lm_head((body.ln_f if gpt2 else body.norm)(tokens))
        return logits

    def prompt_rows(self, layer: str, tokens: Tensor) -> Tensor:
        """Route in pass one; in pass two, by the record, with the gradient of the kept tokens."""
        router, experts = self.prompts[f"{layer}.router"], self.prompts[f"{layer}.experts"]
        weights = self.tokens.rows(self.scope) & self.tokens.active
        unit = tokens * (tokens.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        pooled = (weights[..., None] * unit).sum(1) / self.count
        if self.replaying:
            recorded = cast(Recorded, self.rows.routing_of(layer))
            pooled, chosen = anchored(recorded.pooled, pooled), recorded.chosen
        else:
            ranked = self.router_logits(layer, pooled, router)
            chosen = self.chosen.get(layer, ranked.topk(self.k).indices)
            self.routing[layer] = Recorded(pooled, chosen)
        shares = self.router_logits(layer, pooled, router).softmax(-1)
        gates = shares * torch.zeros_like(shares).scatter(1, chosen, 1)
        return torch.einsum("be,epd->bpd", gates, experts) + self.prompts[f"{layer}.shared"]

    def router_logits(self, layer: str, pooled: Tensor, router: Tensor) -> Tensor:
        """What the router of a layer says, [b, e]."""
        log_scale = self.prompts.get(f"{layer}.router_scale")
        return torch.stack([torch.stack(logits(row, router, log_scale)) for row in pooled])

    def all_rows(self, module: nn.Module, name: str, states: Tensor) -> Tensor:
        """Keep the keys or values of a layer in pass one; merge those of pass two among them."""
        if not self.replaying:
            self.states[module, name] = states
            return states
        recorded = self.states[module, name].transpose(1, 2)
        return self.rows.merged(recorded, states.transpose(1, 2)).transpose(1, 2)


class OwnPasses(TwoPasses):
    """The same, by the package's own hooks and layers on a model with prompts.

    Args:
        model: The model with prompts.
        batch: Tokens, positions, labels and the mask of padding, [b, n].
        scope: What routers may look at, [b, n].
    """

    def __init__(self, model: Any, batch: dict[str, Tensor], scope: Tensor) -> None:
        super().__init__(model, {}, batch, scope)

    def logits(self, keep: Tensor) -> Tensor:
        """The logits of the tokens of a selection, [b, k, v], from pass two."""
        global current
        base, record = self.model.get_base_model(), RowRecord()
        before, current = base.config._attn_implementation, self
        base.set_attn_implementation("replayed_prompts")
        given = {name: value for name, value in self.batch.items() if name != "attention_mask"}
        padding = self.batch["attention_mask"]
        with torch.no_grad():
            base(**given, attention_mask=padding, routing_mask=self.scope, row_pass=record)

        tokens = RowSelection.of(keep)
        p = record.prepended
        self.rows = replace(tokens, routing=record.routing).with_prepended(p)
        self.replaying = True
        given = {name: tokens.rows(value) for name, value in given.items()}
        mask = self.rows.rows(self.mask(p)[:, 0])[:, None]
        found: Tensor = base(**given, attention_mask=mask, row_pass=self.rows).logits
        base.set_attn_implementation(before)
        return found


current: TwoPasses | None = None


def merging_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend from the rows of a pass to all rows."""
    assert current is not None
    key, value = current.all_rows(module, "key", key), current.all_rows(module, "value", value)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    attended = F.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
    return attended.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("replayed_prompts", merging_attention)
# The eager mask is always written out, as an additive one.
ALL_MASK_ATTENTION_FUNCTIONS.register("replayed_prompts", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
