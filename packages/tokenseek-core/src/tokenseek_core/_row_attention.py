"""Attention from the kept rows to all keys, without a large mask of those rows.

Kept rows have gaps between them, so that no kernel knows their mask by itself. A small one is made
once for all layers. Where it would be large, the rows attend a chunk at a time: each chunk makes
the mask of its own rows, leaves out the keys that come after its last one, and does both again in
the backward pass, so that no mask is kept.

Shapes: `b` batch, `k` kept rows, `s` sequence, both with the rows that an adapter put in front,
`n_h` query heads, `n_kv` key/value heads, `g` = n_h / n_kv, `d` head size, `h` heads of a mask.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.utils.checkpoint import checkpoint

from tokenseek_common.rows import RowSelection
from tokenseek_core._attention import BEYOND_SDPA, Attended, delegate, given
from tokenseek_core._chunks import chunk_bytes, walked
from tokenseek_core._mask import mask_rows
from tokenseek_core._record import RecordedLayer
from tokenseek_core._relative_bias import bias_of_rows

MOST = 64 * 2**20
"""Bytes of a mask that all rows and layers may share, and of a chunk's at most, however much memory
is free: more makes no kernel faster."""


class Chunk(NamedTuple):
    """Kept rows from `first` to before `end`, which see none but the first `seen` keys."""

    first: int
    end: int
    seen: int


@dataclass
class RowAttention:
    """The attention of all layers of a replay, which share the masks that are not cut.

    Args:
        rows: The kept rows.
        masks: Masks of all of them, by what they were made of.
    """

    rows: RowSelection
    masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def attend(
        self,
        backend: str,
        module: nn.Module,
        layer: RecordedLayer,
        query: Float[Tensor, "b n_h k d"],
        key: Float[Tensor, "b n_kv s d"],
        value: Float[Tensor, "b n_kv s dv"],
        *,
        dropout: float,
        scaling: float | None,
        **kwargs: Any,
    ) -> Float[Tensor, "b k n_h dv"]:
        """Attend as the model does, under the mask that `layer` recorded."""
        attend: Callable[..., Attended] = folded
        groups = query.shape[1] // key.shape[1]
        maps = groups  # what has the size of the chunk's rows times its keys
        if backend == "eager" or given(BEYOND_SDPA, kwargs):
            # The model's own function: it may cap logits or add sinks, and repeats heads itself.
            attend = functools.partial(delegate("eager", module), module, **kwargs)
            groups, maps = 1, query.shape[1]
        attend = functools.partial(attend, dropout=dropout, scaling=scaling)
        if layer.bias is not None:  # a map of its own for every head
            maps = query.shape[1]
        chunks = self._chunks(layer, query, maps)
        if not chunks:
            mask = self._shared_mask(layer, query, groups)
            return attend(query, key, value, self._biased(layer, mask, slice(None)))[0]

        def attend_chunk(chunk: Chunk, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mask = self._mask(layer, query, groups, chunk)
            rows, seen = slice(chunk.first, chunk.end), slice(chunk.seen)
            mask = self._biased(layer, mask, rows)
            return attend(query[:, :, rows], key[:, :, seen], value[:, :, seen], mask)[0]

        outputs = [
            checkpoint(
                functools.partial(attend_chunk, chunk),
                *(query, key, value),
                use_reentrant=False,
                preserve_rng_state=dropout > 0,
            )
            for chunk in chunks[: walked(len(chunks), 1, query)]
        ]
        output = torch.cat(outputs, dim=1)
        left = query.shape[2] - output.shape[1]
        return F.pad(output, (0, 0, 0, 0, 0, left)) if left else output

    def _chunks(
        self, layer: RecordedLayer, query: Float[Tensor, "b n_h k d"], maps: int
    ) -> list[Chunk]:
        """Chunks of the rows; none where all of them may share a mask.

        Args:
            layer: What the attention module saw in pass one.
            query: Its queries now.
            maps: How many maps of [rows, keys] an instance needs at a time.
        """
        if layer.mask is not None and layer.mask.ndim == 4:
            maps = max(maps, layer.mask.shape[1])
        k, s = query.shape[2], layer.key.shape[2]
        row_bytes = len(query) * maps * query.dtype.itemsize
        if k * s * row_bytes <= MOST:
            return []
        past = layer.causal and (layer.mask is None or layer.mask.ndim == 2)
        return cut(self._past if past else [s] * k, row_bytes, min(MOST, chunk_bytes(query)))

    @cached_property
    def _past(self) -> list[int]:
        """Keys up to each row, in the instance where they are most; the host waits for them."""
        k = self.rows.slots.shape[1]
        if is_fake(self.rows.slots):  # without values: rows at equal distances
            return [-(-self.rows.length * row // k) for row in range(1, k + 1)]
        return [slot + 1 for slot in self.rows.slots.amax(0).tolist()]

    def _biased(
        self, layer: RecordedLayer, mask: Float[Tensor, "b h r s"], rows: slice
    ) -> Float[Tensor, "b n_h r s"]:
        """A mask of some rows with the relative bias that the model adds to their map."""
        if layer.bias is None:
            return mask
        slots = self.rows.slots[:, rows].to(mask.device)
        bias = bias_of_rows(layer.bias, slots, layer.key.shape[2])
        return mask + bias[..., : mask.shape[3]].to(mask.dtype)

    def _shared_mask(
        self, layer: RecordedLayer, query: Float[Tensor, "b n_h k d"], groups: int
    ) -> Float[Tensor, "b h r s"]:
        """One mask for all layers that were given the same one."""
        identity = None if layer.mask is None else id(layer.mask)
        keys = layer.key.shape[2]
        name = (identity, keys, query.device, query.dtype, layer.causal, layer.window, groups)
        if name not in self.masks:
            everything = Chunk(0, query.shape[2], layer.key.shape[2])
            self.masks[name] = self._mask(layer, query, groups, everything)
        return self.masks[name]

    def _mask(
        self, layer: RecordedLayer, query: Float[Tensor, "b n_h k d"], groups: int, chunk: Chunk
    ) -> Float[Tensor, "b h r s"]:
        """The additive mask of a chunk in the queries' dtype, for the heads of a group in turn.

        A boolean one would be converted inside the kernel, and saved once per layer.
        """
        own = layer.mask is not None and layer.mask.ndim == 4 and layer.mask.shape[1] > 1
        mask = (
            layer.mask
            if layer.mask is None or layer.mask.ndim == 4
            else layer.mask[:, : chunk.seen]
        )
        rows = mask_rows(
            mask,
            self.rows.slots[:, chunk.first : chunk.end].to(query.device),
            chunk.seen,
            causal=layer.causal,
            window=layer.window,
            dtype=query.dtype,
            repeats=1 if own else groups,
        )  # [b, h, r, k, s]
        if own:
            rows = rows[:, :, 0].unflatten(1, (-1, groups))  # [b, n_kv, g, k, s]
        return rows.flatten(2, 3)


def cut(seen: Sequence[int], row_bytes: int, limit: int) -> list[Chunk]:
    """Cut rows into chunks, each as large as may be.

    Args:
        seen: How many of the first keys each row may see, ascending.
        row_bytes: What a row takes for each key of its chunk.
        limit: What a chunk of several rows may take.
    """
    chunks, first = [], 0
    for row, keys in enumerate(seen):
        if row > first and (row + 1 - first) * keys * row_bytes > limit:
            chunks.append(Chunk(first, row, seen[row - 1]))
            first = row
    return [*chunks, Chunk(first, len(seen), seen[-1])]


def folded(
    query: Float[Tensor, "b n_h k d"],
    key: Float[Tensor, "b n_kv s d"],
    value: Float[Tensor, "b n_kv s dv"],
    mask: Float[Tensor, "b h r s"],
    *,
    dropout: float,
    scaling: float | None,
) -> Attended:
    """Attend with a group's query heads as rows, which spares a copy of K and V for every head."""
    b, n_h, k, d = query.shape
    output = F.scaled_dot_product_attention(
        query.reshape(b, key.shape[1], -1, d),  # [b, n_kv, g * k, d]
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        scale=scaling,
    )
    return output.reshape(b, n_h, k, -1).transpose(1, 2).contiguous(), None
