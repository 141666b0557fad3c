from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promotion.nn import LargeMarginProjection, PrototypeLearner, margin_loss, sinkhorn
from promotion.nn._kmeans import kmeans


def learner_of(*, em_steps: int = 2, **settings: object) -> PrototypeLearner:
    torch.manual_seed(0)
    learner = PrototypeLearner(
        6,
        prototypes=4,
        dimensions=3,
        em_steps=em_steps,
        **settings,  # type: ignore[arg-type]
    ).double()
    with torch.no_grad():
        learner.gates.copy_(torch.tensor([0.7, -0.4]))
    return learner


def features_of(b: int, h: int = 3, w: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(b, 6, h, w, dtype=torch.float64, generator=generator)


def unit_vectors(b: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(3 + n)
    return F.normalize(torch.randn(b, n, 3, dtype=torch.float64, generator=generator), dim=-1)


def slow_synchronise(learner: PrototypeLearner, tokens: Tensor, prototypes: Tensor) -> Tensor:
    """One picture, one token and one prototype at a time."""
    theta = [learner.up(p) for p in prototypes]
    keys, values = learner.key(tokens), learner.value(tokens)

    def expect() -> list[Tensor]:
        return [
            torch.stack([key @ learner.query(t) / math.sqrt(6) for t in theta]).softmax(0)
            for key in keys
        ]

    for _ in range(learner.em_steps):
        shares = expect()
        theta = [
            t
            + sum(share[k] * value for share, value in zip(shares, values, strict=True))
            / sum(share[k] for share in shares)
            for k, t in enumerate(theta)
        ]
    shares = expect()
    out = []
    for token, share in zip(tokens, shares, strict=True):
        token = token + learner.gates[0] * sum(share[k] * t for k, t in enumerate(theta))
        out.append(token + learner.gates[1] * learner.feed_forward(learner.norm(token)))
    return torch.stack(out)


@pytest.mark.parametrize("em_steps", [0, 1, 3])
def test_synchronisation_equals_token_by_token(em_steps: int) -> None:
    learner, z = learner_of(em_steps=em_steps), features_of(2)
    tokens = z.flatten(2).transpose(1, 2)
    found = learner.synchronise(tokens, learner.memory())
    expected = torch.stack([slow_synchronise(learner, t, learner.memory()) for t in tokens])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_it_starts_as_if_it_were_not_there() -> None:
    z = features_of(2)
    learner = PrototypeLearner(6, prototypes=4, dimensions=3).double().eval()
    assert torch.equal(learner(z).features, z)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_equals_its_pictures(training: bool) -> None:
    learner, z = learner_of(memory=False).train(training), features_of(3)
    together = learner(z)
    for i in range(3):
        alone = learner(z[i : i + 1])
        torch.testing.assert_close(alone.features[0], together.features[i], rtol=1e-12, atol=1e-13)
        assert torch.equal(alone.assignments[0], together.assignments[i])


def test_training_balances_and_testing_takes_the_nearest() -> None:
    learner = learner_of()
    tokens = unit_vectors(2, 9)
    prototypes = learner.memory()
    cosines = tokens @ prototypes.T
    nearest = cosines.argmax(-1)
    assert torch.equal(learner.train().assign(tokens, prototypes), sinkhorn(cosines).argmax(-1))
    assert torch.equal(learner.eval().assign(tokens, prototypes), nearest)
    assert not torch.equal(learner.train().assign(tokens, prototypes), nearest)
    for assignment, expected in (("nearest", nearest), ("kmeans", kmeans(tokens, prototypes))):
        other = learner_of(assignment=assignment).train()
        assert torch.equal(other.assign(tokens, prototypes), expected)
        assert torch.equal(other.eval().assign(tokens, prototypes), nearest)


def test_kmeans_is_lloyds_iteration_in_each_picture() -> None:
    pictures, centres = unit_vectors(3, 12), unit_vectors(1, 5)[0]
    expected = []
    for tokens in pictures:
        moved = list(centres)
        for _ in range(2):
            chosen = [max(range(5), key=lambda k: float(e @ moved[k])) for e in tokens]
            for k in set(chosen):
                total = sum(e for e, y in zip(tokens, chosen, strict=True) if y == k)
                moved[k] = total / total.norm()
        expected.append([max(range(5), key=lambda k: float(e @ moved[k])) for e in tokens])
    found = kmeans(pictures, centres, iterations=2)
    assert found.tolist() == expected
    assert found.tolist() != (pictures @ centres.T).argmax(-1).tolist()


def test_tiles_are_assigned_as_the_whole_is() -> None:
    learner, z = learner_of().eval(), features_of(1, 4, 8)
    whole = learner(z).assignments
    assert torch.equal(learner(z[..., :4]).assignments, whole[..., :4])


def test_only_training_moves_the_memory() -> None:
    learner, z = learner_of(), features_of(2)
    before = learner.memory.prototypes.clone()
    assert learner.eval()(z).margin_loss is None
    assert torch.equal(learner.memory.prototypes, before)
    assert learner.train()(z).margin_loss is not None
    assert not torch.equal(learner.memory.prototypes, before)


def test_every_parameter_of_the_learner_learns() -> None:
    learner = learner_of().train()
    found = learner(features_of(2))
    (found.features.square().sum() + found.margin_loss.sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in learner.parameters())


def test_margin_loss_equals_its_formula() -> None:
    cosines = torch.tensor([[[0.9, 0.2, -0.5], [0.1, 0.3, 0.8]]], dtype=torch.float64)
    assigned = torch.tensor([[0, 2]])
    parts: list[float] = []
    for row, y in ((cosines[0, 0].tolist(), 0), (cosines[0, 1].tolist(), 2)):
        own = math.exp((row[y] - 0.1) / 0.1)
        others = sum(math.exp(row[k] / 0.1) for k in range(3) if k != y)
        parts.append(-math.log(own / (own + others)) + 0.1 * (1 - row[y]) ** 2)
    assert margin_loss(cosines, assigned).item() == pytest.approx(sum(parts) / 2, rel=1e-12)


def test_projected_tokens_lie_on_the_sphere() -> None:
    torch.manual_seed(0)
    projected = LargeMarginProjection(6, 3)(torch.randn(2, 7, 6))
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2, 7))


def test_gradient_of_assignment_by_em() -> None:
    learner = learner_of(em_steps=2)
    tokens = features_of(1, 2, 3).flatten(2).transpose(1, 2).requires_grad_()
    prototypes = F.normalize(torch.randn(4, 3, dtype=torch.float64), dim=-1).requires_grad_()
    assert torch.autograd.gradcheck(learner.synchronise, (tokens, prototypes))
