"""Router rows that start at what routers read."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftConfig, PeftModel
from torch import Tensor

from mept import MeptConfig, fit_routers, record_routing
from mept._kmeans import spherical_kmeans
from tiny import FAMILIES, prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError

pytestmark = pytest.mark.filterwarnings("ignore:sliding_window:UserWarning")


def batches(family: str, count: int = 3) -> list[dict[str, Tensor]]:
    return [tiny_batch(family, seed=seed) for seed in range(count)]


def means_of(model: Any) -> list[Tensor]:
    return [value for name, value in model.named_buffers() if "mept_router_mean" in name]


def best_of_all(points: Tensor, count: int) -> float:
    """The largest sum of cosines with the nearest centroid, over every way to part few points."""
    best = -math.inf
    for parts in itertools.product(range(count), repeat=len(points)):
        labels = torch.tensor(parts)
        sums = [points[labels == c].sum(0).norm() for c in range(count)]
        best = max(best, float(sum(sums)))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_the_best_of_all_partitions_of_points_in_groups(seed: int) -> None:
    torch.manual_seed(seed)
    middles = F.normalize(torch.randn(3, 6, dtype=torch.float64))
    points = middles.repeat(3, 1) + 0.05 * torch.randn(9, 6, dtype=torch.float64)
    lengths = torch.rand(9, 1, dtype=torch.float64) + 0.5  # which must not matter
    generator = torch.Generator().manual_seed(seed)
    centroids = spherical_kmeans(points * lengths, 3, generator=generator)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(3, dtype=torch.float64))
    unit = F.normalize(points)
    found = float((unit @ centroids.T).amax(1).sum())
    assert found == pytest.approx(best_of_all(unit, 3), abs=1e-12)


def test_every_centroid_is_the_direction_of_the_sum_of_its_points() -> None:
    points = F.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(1)).double())
    centroids = spherical_kmeans(points, 7, generator=torch.Generator().manual_seed(2))
    nearest = (points @ centroids.T).argmax(1)
    for cluster in range(7):
        direction = F.normalize(points[nearest == cluster].sum(0), dim=0)
        torch.testing.assert_close(centroids[cluster], direction)


def test_there_are_no_more_centroids_than_directions() -> None:
    points = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    found = spherical_kmeans(points, 4, generator=torch.Generator().manual_seed(0))
    assert sorted(found.tolist()) == [[0.0, 1.0], [1.0, 0.0]]
    assert spherical_kmeans(points[2:3], 4, generator=torch.Generator()).shape == (0, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_become_centroids_of_what_each_router_reads_and_nothing_else_changes(
    family: str,
) -> None:
    model = tuned(tiny_model(family))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with record_routing(model.eval()) as record, torch.no_grad():
        for batch in batches(family):
            model(**batch)
    state, rng = model.train().training, torch.get_rng_state()
    assert fit_routers(model, batches(family), seed=5) == 9
    assert model.training == state
    assert torch.equal(torch.get_rng_state(), rng)
    prompts = prompts_of(model)
    for layer, pooled in enumerate(record.pooled):
        generator = torch.Generator().manual_seed(5)
        mean = pooled.mean(0)
        expected = spherical_kmeans(pooled - mean, 4, generator=generator) * 32**0.5  # the width
        torch.testing.assert_close(prompts[f"{layer}.router"].detach(), expected.to(pooled))
        torch.testing.assert_close(means_of(model)[layer], mean)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    kinds = {name.split(".mept_")[-1] for name in changed}
    assert kinds == {"router.default", "router_mean.default"}
    assert len(changed) == 6


def test_rows_depend_on_the_seed_and_on_nothing_else() -> None:
    def fitted(seed: int) -> dict[str, Tensor]:
        model = tuned(tiny_model("bert"))
        fit_routers(model, batches("bert", 8), seed=seed)
        return prompts_of(model)

    first, again, other = fitted(1), fitted(1), fitted(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_fewer_inputs_than_experts_leave_the_other_rows_as_they_were() -> None:
    model = tuned(tiny_model("llama"))
    before = prompts_of(model)["0.router"].detach().clone()
    assert fit_routers(model, [{n: v[:2] for n, v in tiny_batch("llama").items()}]) == 2
    after = prompts_of(model)["0.router"]
    assert torch.equal(after[2:], before[2:])
    assert not torch.equal(after[:2], before[:2])


def test_what_all_inputs_have_in_common_makes_no_expert_likelier() -> None:
    model = tuned(tiny_model("bert")).eval()
    fit_routers(model, batches("bert"))
    with record_routing(model) as record, torch.no_grad():
        for batch in batches("bert"):
            model(**batch)
    rows = F.normalize(prompts_of(model)["0.router"].detach())
    scale = prompts_of(model)["0.router_scale"].detach().exp()
    logits = scale * F.normalize(record.pooled[0] - record.pooled[0].mean(0)) @ rows.T
    torch.testing.assert_close(record.probabilities[0], logits.softmax(-1))


def test_after_it_inputs_in_groups_have_an_expert_each() -> None:
    """Where products of random rows send all of them to the same."""
    model = tuned(tiny_model("bert"), top_k=1)
    ids = torch.arange(3, 19).view(4, 4).repeat_interleave(5, 0)
    inputs = {"input_ids": ids[:, torch.randperm(4)], "attention_mask": torch.ones_like(ids)}
    fit_routers(model, [inputs])
    with record_routing(model) as record, torch.no_grad():
        model(**inputs)
    chosen = record.chosen[0, :, 0].view(4, 5)
    assert (chosen == chosen[:, :1]).all()
    assert chosen[:, 0].unique().numel() == 4


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (
            lambda: tiny_model("bert"),
            "model (BertForTokenClassification) must have prompts in use; give it some by "
            "get_peft_model, or switch its adapter on",
        ),
        (
            lambda: tuned(tiny_model("bert"), router="linear"),
            "router (linear) must be cosine, whose rows lie where inputs do; choose "
            "MeptConfig(router='cosine')",
        ),
        (
            lambda: tuned(tiny_model("bert")),
            "batches (0 inputs) must hold what the model is trained on; some hundred inputs are "
            "good",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(prepare: Any, text: str) -> None:
    with pytest.raises(InputError) as refused:
        fit_routers(prepare(), [])
    assert str(refused.value) == text


def test_training_before_the_pass_that_was_asked_for_is_warned_of_once(tmp_path: Path) -> None:
    def step(model: Any) -> None:
        model.train()
        model(**tiny_batch("llama")).loss.backward()

    model = tuned(tiny_model("llama"), router_init="kmeans")
    model.eval()(**tiny_batch("llama"))
    with pytest.warns(UserWarning, match="router_init") as warned:
        step(model)
    assert [str(each.message) for each in warned] == [
        "router_init (kmeans) has no effect before mept.fit_routers(model, batches) is called, and "
        "training has begun from random rows; call it first, or choose orthogonal"
    ]
    step(model)

    fitted = tuned(tiny_model("llama"), router_init="kmeans")
    fit_routers(fitted, batches("llama"))
    step(fitted)
    fitted.save_pretrained(str(tmp_path))
    step(PeftModel.from_pretrained(tiny_model("llama"), tmp_path, is_trainable=True))


def test_a_fitted_adapter_is_saved_and_loaded_beside_one_with_a_linear_router(
    tmp_path: Path,
) -> None:
    model, batch = tuned(tiny_model("llama")).eval(), tiny_batch("llama")
    fit_routers(model, batches("llama"))
    model.add_adapter("linear", MeptConfig(task_type="CAUSAL_LM", router="linear", init_std=1.0))
    expected = {}
    with torch.no_grad():
        for name in ("default", "linear"):
            model.set_adapter(name)
            expected[name] = model(**batch).logits
        assert set(prompts_of(model, "linear")) == {
            f"{layer}.{kind}" for layer in range(3) for kind in ("router", "experts", "shared")
        }
        model.save_pretrained(str(tmp_path))
        loaded = PeftModel.from_pretrained(tiny_model("llama"), tmp_path).eval()
        loaded.load_adapter(tmp_path / "linear", adapter_name="linear")
        for name in ("default", "linear"):
            loaded.set_adapter(name)
            assert torch.equal(loaded(**batch).logits, expected[name])
        assert all(
            torch.equal(a, b) for a, b in zip(means_of(loaded), means_of(model), strict=True)
        )
        loaded.delete_adapter("default")
        assert means_of(loaded) == []
        assert torch.equal(loaded(**batch).logits, expected["linear"])
    assert model.peft_config["default"].router_init == "kmeans"


def test_an_adapter_saved_before_there_was_a_choice_has_its_linear_router(tmp_path: Path) -> None:
    model, batch = tuned(tiny_model("llama"), router="linear").eval(), tiny_batch("llama")
    model.save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_config.json"
    saved = json.loads(file.read_text())
    assert (saved.pop("router"), saved.pop("router_init")) == ("linear", "orthogonal")
    file.write_text(json.dumps(saved))
    assert PeftConfig.from_pretrained(str(tmp_path)).router == "linear"
    loaded = PeftModel.from_pretrained(tiny_model("llama"), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
