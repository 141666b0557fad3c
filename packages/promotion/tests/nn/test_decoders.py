from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from promotion.nn import ConvGRU, DepthDecoder, Encoder, FlowDecoder, ResidualBlock
from promotion.nn._depth_decoder import FARTHEST, FIRST_LOGIT, NEAREST


def features_of(b: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, 8, 4, 5, generator=generator)


def flow_decoder(matching: int | None = 3) -> FlowDecoder:
    torch.manual_seed(0)
    return FlowDecoder(8, hidden=8, radius=1, levels=2, matching=matching)


def depth_decoder(steps: int = 3) -> DepthDecoder:
    torch.manual_seed(0)
    return DepthDecoder(8, hidden=8, steps=steps)


def test_a_recurrent_step_equals_its_equations() -> None:
    torch.manual_seed(0)
    gru = ConvGRU(4, 3, 2).double()
    state, entering, context = (torch.randn(2, c, 5, 6, dtype=torch.float64) for c in (4, 3, 2))

    def gate(convolution: nn.Conv2d, part: int, hidden: Tensor) -> Tensor:
        weight = convolution.weight.view(-1, 4, 7, 3, 3)[part % 2]
        own = nn.functional.conv2d(torch.cat([hidden, entering], 1), weight, padding=1)
        summed: Tensor = own + gru.context(context)[:, 4 * part : 4 * part + 4]
        return summed

    z, r = gate(gru.gates, 0, state).sigmoid(), gate(gru.gates, 1, state).sigmoid()
    q = gate(gru.candidate, 2, r * state).tanh()
    found = gru(state, entering, gru.prepare(context))
    torch.testing.assert_close(found, (1 - z) * state + z * q, rtol=1e-12, atol=1e-13)


def test_the_encoder_sees_an_eighth_and_no_neighbour_in_the_batch() -> None:
    torch.manual_seed(0)
    encoder = Encoder((8, 8, 16))
    pictures = torch.rand(3, 3, 32, 40)
    together = encoder(pictures)
    assert together.shape == (3, 16, 4, 5)
    torch.testing.assert_close(encoder(pictures[1:2])[0], together[1])


def test_a_residual_block_of_one_shape_passes_its_input_on() -> None:
    block = ResidualBlock(8, 8)
    nn.init.zeros_(block.second.weight)
    x = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(("training", "count"), [(True, 4), (False, 1)])
def test_training_sees_the_flow_of_every_step_and_testing_the_last(
    training: bool, count: int
) -> None:
    decoder = flow_decoder().train(training)
    decoded = decoder(features_of(2), features_of(2, seed=1), iterations=3)
    assert len(decoded.flows) == count
    assert all(flow.shape == (2, 2, 32, 40) for flow in decoded.flows)
    full = decoder.upsample(decoded.coarse, decoded.state)
    torch.testing.assert_close(decoded.flows[-1], full)


def test_steps_are_not_linked_by_the_place_they_look_at() -> None:
    decoder = flow_decoder().train()
    decoded = decoder(features_of(1), features_of(1, seed=1), iterations=2)
    assert decoder.match is not None
    decoded.flows[-1].sum().backward()
    assert decoder.match.temperature.grad is None
    decoded = decoder(features_of(1), features_of(1, seed=1), iterations=1)
    decoded.flows[0].sum().backward()
    assert decoder.match.temperature.grad is not None


def test_without_matching_the_start_is_no_motion() -> None:
    decoded = flow_decoder(None).train()(features_of(1), features_of(1, seed=1), iterations=1)
    assert not decoded.flows[0].any()


def test_a_given_start_is_where_the_search_begins() -> None:
    decoder = flow_decoder().train()
    start = torch.full((1, 2, 4, 5), 1.5)
    decoded = decoder(features_of(1), features_of(1, seed=1), iterations=1, start=start)
    torch.testing.assert_close(decoded.flows[0], torch.full((1, 2, 32, 40), 12.0))


def test_depth_lies_between_its_bounds_and_starts_at_about_five_metres() -> None:
    decoder = depth_decoder(1).eval()
    last = decoder.delta[2]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    (depth,) = decoder(features_of(1), None)
    share = 1 / (1 + math.exp(-FIRST_LOGIT))
    expected = 1 / (1 / FARTHEST + (1 / NEAREST - 1 / FARTHEST) * share)
    assert expected == pytest.approx(5, abs=0.5)
    torch.testing.assert_close(depth, torch.full((1, 32, 40), expected))
    for logit, bound in ((60.0, NEAREST), (-60.0, FARTHEST)):
        nn.init.constant_(last.bias, logit)
        torch.testing.assert_close(decoder(features_of(1), None)[0], torch.full((1, 32, 40), bound))


@pytest.mark.parametrize(("training", "count"), [(True, 3), (False, 1)])
def test_training_sees_the_depth_of_every_step_and_testing_the_last(
    training: bool, count: int
) -> None:
    depths = depth_decoder().train(training)(features_of(2), None)
    assert [depth.shape for depth in depths] == [(2, 32, 40)] * count


def test_pictures_marked_as_still_have_the_depth_of_one_frame() -> None:
    decoder = depth_decoder().eval()
    features, motion = features_of(2), torch.randn(2, 10, 4, 5)
    (mixed,) = decoder(features, motion, torch.tensor([1.0, 0.0]))
    (moving,) = decoder(features, motion)
    (still,) = decoder(features, None)
    torch.testing.assert_close(mixed[0], moving[0])
    torch.testing.assert_close(mixed[1], still[1])
    assert not torch.equal(moving[1], still[1])
