from __future__ import annotations

import math
from typing import Any

import pytest
from peft import PeftConfig, PeftType

from mept import MeptConfig
from tokenseek_common import InputError


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_virtual_tokens": 0}, "num_virtual_tokens (0) must be at least 1; raise it"),
        (
            {"num_experts": 0, "top_k": 0},
            "num_experts (0) must be at least 1; raise it",
        ),
        (
            {"top_k": 5},
            "top_k (5) must be from 1 to num_experts (4); num_experts takes all",
        ),
        (
            {"top_k": 0},
            "top_k (0) must be from 1 to num_experts (4); num_experts takes all",
        ),
        *[
            ({name: value}, f"{name} ({value!r}) must be a whole number, of type int; convert it")
            for name in ("num_virtual_tokens", "num_experts", "top_k")
            for value in (1.5, "10", True, None)
        ],
        *[
            ({name: value}, f"{name} ({value!r}) must be a finite number, at least 0; 0 is none")
            for name in ("router_noise", "aux_loss_coef", "z_loss_coef")
            for value in (-0.1, math.nan, math.inf, "1", True)
        ],
        *[
            (
                {"init_std": value},
                f"init_std ({value!r}) must be a finite number above 0; 0.02 is usual",
            )
            for value in (0.0, math.nan, math.inf, "1")
        ],
        *[
            (
                {"prompt_dropout": value},
                f"prompt_dropout ({value!r}) must be a number in [0, 1); 0 is none",
            )
            for value in (1.0, -0.1, math.nan, "0")
        ],
        *[
            (
                {"layers": value},
                f"layers ({value!r}) must be a list of whole numbers; write [0, 1] for the first "
                "two",
            )
            for value in ("0", 0, [0, "1"], [0, True])
        ],
        ({"router": "mean"}, "router (mean) must be cosine or linear; cosine is the default"),
        (
            {"router_init": "mean"},
            "router_init (mean) must be kmeans or orthogonal; kmeans is the default",
        ),
        (
            {"router": "linear", "router_init": "kmeans"},
            "router_init (kmeans) must be orthogonal where router is linear, only cosines are "
            "largest with the nearest centroid; choose router='cosine'",
        ),
        (
            {"gate_normalize": "mean"},
            "gate_normalize (mean) must be none or sum; none is the default",
        ),
        (
            {"routing_scope": "some"},
            "routing_scope (some) must be auto or all; auto is the default",
        ),
        (
            {"init": "zero"},
            "init (zero) must be normal or xavier or vocab or hidden; normal is the default",
        ),
        (
            {"gate_normalize": "sum"},
            "gate_normalize (sum) must be none where top_k is 1, a gate of always 1 would teach "
            "the router nothing; raise top_k",
        ),
        (
            {"layers": [1, 2]},
            "layers ([1, 2]) must contain 0, the first layer, whose rows the others carry on; "
            "add it",
        ),
        (
            {"layers": [0], "target_modules": ["layers.0"]},
            "target_modules (['layers.0']) must be None where layers is given; choose layers by "
            "one of them",
        ),
    ],
)
def test_a_value_outside_its_range_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as refused:
        MeptConfig(**settings)
    assert str(refused.value) == text


def test_the_official_spelling_counts_the_rows_of_all_experts() -> None:
    config = MeptConfig.from_official(
        num_virtual_tokens=10, num_virtual_tokens_full=40, topk=2, router_noise=1.0
    )
    sizes: dict[str, Any] = {"num_virtual_tokens": 10, "num_experts": 4, "top_k": 2}
    assert config == MeptConfig(**sizes, router="linear", router_noise=1.0)


def test_new_prompts_have_cosine_routers_and_those_of_the_paper_linear_ones() -> None:
    assert (MeptConfig().router, MeptConfig().router_init) == ("cosine", "kmeans")
    assert MeptConfig(num_experts=1).router_init == "orthogonal"
    hidden = MeptConfig(init="hidden")
    assert (hidden.router, hidden.router_init) == ("linear", "orthogonal")
    assert MeptConfig(init="hidden", router="cosine").router_init == "kmeans"
    paper = MeptConfig.paper(task_type="SEQ_CLS", num_experts=8)
    assert (paper.router, paper.router_init, paper.router_noise) == ("linear", "orthogonal", 1.0)
    assert (paper.num_virtual_tokens, paper.num_experts, paper.top_k) == (10, 8, 1)
    assert (paper.init, paper.task_type) == ("xavier", "SEQ_CLS")


def test_rows_that_no_number_of_experts_makes_are_refused() -> None:
    with pytest.raises(InputError) as refused:
        MeptConfig.from_official(num_virtual_tokens=10, num_virtual_tokens_full=45, topk=1)
    assert str(refused.value) == (
        "num_virtual_tokens_full (45) must be a multiple of num_virtual_tokens (10); their "
        "quotient is the number of experts"
    )


@pytest.mark.parametrize(
    ("rows", "full", "text"),
    [
        (0, 40, "num_virtual_tokens (0) must be at least 1; raise it"),
        (10, 0, "num_experts (0) must be at least 1; raise it"),
        (2.5, 40, "num_virtual_tokens (2.5) must be a whole number, of type int; convert it"),
        (
            10,
            "40",
            "num_virtual_tokens_full ('40') must be a whole number, of type int; convert it",
        ),
    ],
)
def test_official_numbers_outside_their_range_are_refused(rows: Any, full: Any, text: str) -> None:
    with pytest.raises(InputError) as refused:
        MeptConfig.from_official(num_virtual_tokens=rows, num_virtual_tokens_full=full, topk=1)
    assert str(refused.value) == text


def test_peft_knows_the_method_by_name_by_value_and_in_its_list() -> None:
    member = PeftType("MEPT")
    assert member is PeftType.MEPT  # type: ignore[attr-defined]
    assert member is PeftType["MEPT"]
    assert member in list(PeftType)
    assert (member.name, member.value, member) == ("MEPT", "MEPT", "MEPT")
    assert MeptConfig().peft_type is member
    assert len(PeftType) == len(set(PeftType))


def test_a_config_comes_back_as_it_was_saved(tmp_path: Any) -> None:
    config = MeptConfig(task_type="CAUSAL_LM", layers=[0, 3], top_k=2, gumbel=True)
    config.save_pretrained(str(tmp_path))
    assert PeftConfig.from_pretrained(tmp_path) == config


def test_every_setting_says_what_it_is_for() -> None:
    own = MeptConfig.__annotations__
    fields = {name: MeptConfig.__dataclass_fields__[name] for name in own}
    assert all(field.metadata.get("help") for field in fields.values())
