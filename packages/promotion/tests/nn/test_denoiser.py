from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promotion.nn import FeatureDenoiser, SubspaceBlock
from promotion.nn import _denoiser as module


def features_of(b: int, h: int = 4, w: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(b, 8, h, w, dtype=torch.float64, generator=generator)


def block_of(pooling: int = 1) -> SubspaceBlock:
    torch.manual_seed(0)
    return SubspaceBlock(8, heads=2, pooling=pooling).double()


def slow_block(block: SubspaceBlock, z: Tensor, sharpening: float = 1.0) -> Tensor:
    """One picture, one subspace at a time, with matrices of d x n as in the equations."""
    height, width = z.shape[-2:]
    z = z + block.position(z[None])[0]
    tokens = z.flatten(1)  # Z, [d, n]
    normed = block.norm1(tokens.T).T
    subspaces = block.subspaces.weight.view(2, 4, 8)  # U_k^T, [d / heads, d]
    attended = []
    for projection in subspaces:
        queries = projection @ normed
        cells = queries.view(1, 4, height, width)
        if block.pooling > 1:
            pooling = block.pooling
            cells = torch.stack(
                [
                    cells[..., y : y + pooling, x : x + pooling].mean((-2, -1))
                    for y in range(0, height, pooling)
                    for x in range(0, width, pooling)
                ],
                -1,
            )
        keys = cells.reshape(4, -1)
        weights = (keys.T @ queries * sharpening / math.sqrt(4)).softmax(0)  # [m, n]
        attended.append(keys @ weights)
    tokens = tokens + block.out(torch.cat(attended).T).T
    y = block.norm2(tokens.T).T
    dictionary = block.dictionary.weight
    sparse = F.relu(y + 0.1 * dictionary.T @ (y - dictionary @ y) - 0.1 * 0.1)
    denoised: Tensor = (tokens + sparse).view(8, height, width)
    return denoised


@pytest.mark.parametrize("pooling", [1, 2])
def test_a_layer_equals_its_equations(pooling: int) -> None:
    block, z = block_of(pooling), features_of(2)
    expected = torch.stack([slow_block(block, picture) for picture in z])
    torch.testing.assert_close(block(z), expected, rtol=1e-11, atol=1e-12)


def test_cells_are_averaged_until_there_are_no_more_keys_than_asked_for() -> None:
    block, coarse, z = block_of(), block_of(pooling=2), features_of(2)  # 20 cells, or 6 keys
    assert torch.equal(block(z, 20), block(z))
    torch.testing.assert_close(block(z, 6), coarse(z))
    torch.testing.assert_close(block(z, 19), coarse(z))


def test_more_keys_than_in_training_are_attended_more_sharply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TRAINED_KEYS", 5)
    block, z = block_of(), features_of(1)
    expected = slow_block(block, z[0], sharpening=math.log(20) / math.log(5))
    torch.testing.assert_close(block(z)[0], expected, rtol=1e-11, atol=1e-12)


def test_a_batch_equals_its_pictures() -> None:
    block, z = block_of(), features_of(3)
    together = block(z)
    for i in range(3):
        torch.testing.assert_close(block(z[i : i + 1])[0], together[i], rtol=1e-12, atol=1e-13)


def denoiser_of(noise: float) -> FeatureDenoiser:
    torch.manual_seed(0)
    return FeatureDenoiser(8, blocks=2, heads=2, pooling=1, noise=noise).double()


def test_noise_is_for_training_alone() -> None:
    denoiser, z = denoiser_of(0.2), features_of(2)
    quiet, loss = denoiser.eval()(z)
    assert loss is None
    assert torch.equal(quiet, denoiser.denoise(z, None))
    noisy, loss = denoiser.train()(z)
    assert loss is not None
    assert loss.shape == (2,)
    assert not torch.equal(noisy, quiet)


def test_the_loss_is_the_restored_error_in_variances() -> None:
    denoiser, x = denoiser_of(0.0).train(), features_of(2)
    z, loss = denoiser(x)
    assert loss is not None
    for i in range(2):
        error = (denoiser.restore(z[i : i + 1])[0] - x[i]).square().mean()
        assert loss[i].item() == pytest.approx((error / x[i].var()).item(), rel=1e-12)


def test_the_noise_is_at_most_its_share_of_the_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, x = denoiser_of(0.2).train(), features_of(1, 40, 40)
    monkeypatch.setattr(torch, "rand_like", torch.ones_like)
    seen = []
    denoiser.blocks[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    denoiser(x)
    assert (seen[0] - x).std().item() == pytest.approx(0.2 * x.std().item(), rel=0.05)


def test_the_target_of_the_loss_is_taken_as_given() -> None:
    denoiser = denoiser_of(0.0).train()
    x = features_of(1).requires_grad_()
    _, loss = denoiser(x)
    assert loss is not None
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    target = x.detach()
    restored = denoiser.restore(denoiser.denoise(x, None))
    (expected,) = torch.autograd.grad(((restored - target) ** 2).mean() / target.var(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)
