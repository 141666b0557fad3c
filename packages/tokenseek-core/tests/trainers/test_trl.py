"""TRL's trainers with every token kept are those without TokenSeek, applied before or after."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer

from datasets import Dataset
from families import SEVERAL, tiny_model
from heads import TASKS, headed
from saved_llama import WORDS, tiny_llama, tiny_tokenizer
from slow_reference import gradients, relative_error
from taken import always
from tokenseek_common import InputError
from tokenseek_core import (
    TokenSeekCallback,
    TokenSeekConfig,
    TokenSeekNotRunWarning,
    apply_tokenseek,
)

trl = pytest.importorskip("trl", reason='TRL is not there; pip install "tokenseek-core[trl]"')
pytestmark = [
    pytest.mark.trainers,
    # TRL calls transformers by older names.
    pytest.mark.filterwarnings(r"ignore:`gradient_checkpointing\w*` is deprecated:FutureWarning"),
]

ALL = {
    "restart": always(1.0),
    "inject": replace(TokenSeekConfig(), ratio=1.0, dense_above=None),
    "answers": replace(TokenSeekConfig.answers(1.0), dense_above=None),
}
"""Every token kept, and never a dense step."""

BOUND = 2e-6
"""TRL hands our loss its share of the step in float32."""

LOGGED = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")
TEMPLATE = (
    "{% for turn in messages %}{% if turn.role == 'assistant' %}<bot> "
    "{% generation %}{{ turn.content }} <end>{% endgeneration %} "
    "{% else %}<user> {{ turn.content }} <end> {% endif %}{% endfor %}"
)

Records = list[dict[str, Any]]


def texts() -> Records:
    said = [(WORDS[3 + number % 6], WORDS[3 + (number + 1) % 6], number % 4) for number in range(8)]
    return [{"text": " ".join([one] * (5 + more) + [other] * 3)} for one, other, more in said]


def completions() -> Records:
    said = [(WORDS[3 + number % 6], number % 3) for number in range(8)]
    return [
        {"prompt": f"say {word} again", "completion": " " + " ".join([word] * (3 + more))}
        for word, more in said
    ]


def chats() -> Records:
    return [
        {
            "messages": [
                {"role": "user", "content": record["prompt"]},
                {"role": "assistant", "content": record["completion"].strip()},
                {"role": "user", "content": "again"},
                {"role": "assistant", "content": record["completion"].strip()},
            ]
        }
        for record in completions()
    ]


def pairs() -> Records:
    return [
        {"prompt": one["prompt"], "chosen": one["completion"], "rejected": other["completion"]}
        for one, other in zip(completions(), reversed(completions()), strict=True)
    ]


def judged() -> Records:
    return [record | {"label": number % 2 == 0} for number, record in enumerate(completions())]


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (texts, {}),
    "accumulated": (texts, {"gradient_accumulation_steps": 2}),
    "completion only": (completions, {}),
    "assistant only": (chats, {"assistant_only_loss": True}),
    "packed": (texts, {"packing": True, "max_length": 24}),
    "packed, wrapped": (
        texts,
        {"packing": True, "packing_strategy": "wrapped", "max_length": 24},
    ),
    "padding-free": (texts, {"padding_free": True, "max_length": None}),
}


@dataclass(frozen=True)
class Trained:
    """What a short training logged, where its weights arrived, and whether TokenSeek ran."""

    logged: list[dict[str, float]]
    weights: dict[str, Tensor]
    sought: bool


def train(
    trainer: str,
    records: Records,
    folder: Path,
    config: TokenSeekConfig | None = None,
    order: str = "after",
    *,
    lora: bool = False,
    **settings: Any,
) -> Trained:
    model: nn.Module = tiny_llama().double()
    if lora:
        torch.manual_seed(0)
        adapters = peft.LoraConfig(target_modules=["q_proj", "v_proj", "down_proj"])
        model = peft.get_peft_model(model, adapters).double()
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    handle = apply_tokenseek(model, config) if config and order == "before" else None
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
    made: Trainer = getattr(trl, f"{trainer}Trainer")(
        model=model,
        args=getattr(trl, f"{trainer}Config")(**defaults | settings),
        train_dataset=Dataset.from_list(records),
        processing_class=tokenizer,
    )
    if config and order == "after":
        handle = apply_tokenseek(model, config)
    made.train()
    return Trained(
        [{name: entry[name] for name in LOGGED} for entry in made.state.log_history[:-1]],
        {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad},
        handle is not None and handle.last is not None,
    )


def assert_same(found: Trained, expected: Trained) -> None:
    assert found.sought
    assert relative_error(found.weights, expected.weights) < BOUND
    for ours, theirs in zip(found.logged, expected.logged, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuning_with_every_token_kept_is_that_without_tokenseek(
    kind: str, tmp_path: Path
) -> None:
    records, settings = KINDS[kind]
    expected = train("SFT", records(), tmp_path, **settings)
    for config in ALL.values():
        for order in ("before", "after"):
            assert_same(train("SFT", records(), tmp_path, config, order, **settings), expected)


@pytest.mark.parametrize("order", ["before", "after"])
def test_adapters_learn_in_it_too(order: str, tmp_path: Path) -> None:
    expected = train("SFT", texts(), tmp_path, lora=True)
    assert_same(train("SFT", texts(), tmp_path, ALL["inject"], order, lora=True), expected)


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_step_that_leaves_tokens_out_is_that_of_the_plain_trainer(
    gradient: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = always(0.4, selector="gradient", gradient=gradient)
    found = train("SFT", completions(), tmp_path, config)
    with monkeypatch.context() as plain:
        plain.setattr(trl.SFTTrainer, "compute_loss", Trainer.compute_loss)
        plain.setattr(trl.SFTTrainer, "log", Trainer.log)
        plain.setattr(f"{__name__}.LOGGED", ("loss", "grad_norm"))
        expected = train("SFT", completions(), tmp_path, config)
    assert relative_error(found.weights, expected.weights) < BOUND
    for ours, theirs in zip(found.logged, expected.logged, strict=True):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_loss_of_routers_is_to_be_left_out(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.tiny_llama", lambda: tiny_model("qwen3_moe"))
    expected = train("SFT", texts(), tmp_path, router_aux_loss_coef=0.0)
    config = ALL["inject"]
    assert_same(train("SFT", texts(), tmp_path, config, order, router_aux_loss_coef=0.0), expected)
    with pytest.raises(InputError, match=r"leave it out \(with TRL: router_aux_loss_coef=0.0\)"):
        train("SFT", texts(), tmp_path, config, order)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_its_own_precision_and_checkpointing_may_be_on(
    order: str, lora: bool, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"bf16": True, "gradient_checkpointing": True, "lora": lora}
    expected = train("SFT", texts(), tmp_path, **settings)
    found = train("SFT", texts(), tmp_path, ALL["restart"], order, **settings)
    assert found.sought
    assert found.logged[0]["loss"] == pytest.approx(expected.logged[0]["loss"], rel=2e-2)
    assert found.logged[1]["loss"] == pytest.approx(expected.logged[1]["loss"], rel=2e-2)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(
    ("trainer", "records"), [("DPO", pairs), ("KTO", judged)], ids=["DPO", "KTO"]
)
def test_preferences_are_learnt_where_every_token_that_carries_the_loss_is_kept(
    trainer: str, records: Any, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.LOGGED", ("loss", "grad_norm", "entropy", "rewards/margins"))
    expected = train(trainer, records(), tmp_path, lora=True)
    found = train(trainer, records(), tmp_path, ALL["answers"], order, lora=True)
    assert_same(found, expected)


TEXT = (
    "loss (of a trainer of TRL) must be the mean of the tokens' where not all that carry it are "
    "kept; take TokenSeekConfig.answers(), which keeps them, or learn from pairs by "
    "tokenseek_core.preference.train_preferences"
)


@pytest.mark.parametrize("config", ["restart", "inject"])
@pytest.mark.parametrize(
    ("trainer", "records"), [("DPO", pairs), ("KTO", judged)], ids=["DPO", "KTO"]
)
def test_preferences_are_refused_where_tokens_are_left_out(
    trainer: str, records: Any, config: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        train(trainer, records(), tmp_path, ALL[config], lora=True)
    assert str(error.value) == TEXT


@pytest.mark.parametrize("config", ["restart", "inject"])
def test_a_loss_that_weighs_tokens_is_refused_where_tokens_are_left_out(
    config: str, tmp_path: Path
) -> None:
    expected = train("SFT", texts(), tmp_path, loss_type="dft")
    assert_same(train("SFT", texts(), tmp_path, ALL["answers"], loss_type="dft"), expected)
    with pytest.raises(InputError) as error:
        train("SFT", texts(), tmp_path, ALL[config], loss_type="dft")
    assert str(error.value) == TEXT


@pytest.mark.parametrize("trainer", ["GRPO", "RLOO"])
def test_rewards_are_learnt_where_every_token_that_carries_the_loss_is_kept(
    trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reward(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(completion) % 7) for completion in completions]

    monkeypatch.setattr(f"{__name__}.LOGGED", ("grad_norm", "entropy", "reward"))
    made = getattr(trl, f"{trainer}Trainer")
    rewarded = functools.partial(made, reward_funcs=reward)
    monkeypatch.setattr(trl, f"{trainer}Trainer", rewarded)
    settings: dict[str, Any] = {
        "max_steps": 1,  # what is drawn for the next differs
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "temperature": 0.7,
        "beta": 0.0,
    }
    prompts = [{"prompt": record["prompt"]} for record in completions()]
    expected = train(trainer, prompts, tmp_path, **settings)
    for order in ("before", "after"):
        found = train(trainer, prompts, tmp_path, ALL["answers"], order, **settings)
        assert_same(found, expected)
    with pytest.raises(InputError) as error:
        train(trainer, prompts, tmp_path, ALL["inject"], **settings)
    assert str(error.value) == TEXT


@pytest.mark.parametrize("family", SEVERAL)
def test_models_of_text_and_pictures_have_its_head_too(family: str) -> None:
    def step(model: PreTrainedModel) -> dict[str, Tensor]:
        output = model(**TASKS[family].batch("right"), fused_lm_head=True)
        (-output.log_probs.sum() / output.label_mask.sum()).backward()
        return gradients(model)

    model = headed(family, family)
    trl.trainer.utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    expected = step(model)
    for config in ALL.values():
        with apply_tokenseek(model, config) as handle:
            assert relative_error(step(model), expected) < BOUND
            assert handle.last is not None


def test_what_was_kept_is_logged_beside_what_trl_logs(tmp_path: Path) -> None:
    logged = []
    for watched in (False, True):
        model = tiny_llama()
        trainer = trl.SFTTrainer(
            model=model,
            args=trl.SFTConfig(
                output_dir=str(tmp_path),
                use_cpu=True,
                bf16=False,
                max_steps=2,
                logging_steps=1,
                report_to="none",
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(texts()),
            processing_class=tiny_tokenizer(),
        )
        with apply_tokenseek(model, always(0.4)) as handle:
            if watched:
                trainer.add_callback(TokenSeekCallback(handle, trainer))
            trainer.train()
        logged.append([set(entry) for entry in trainer.state.log_history[:-1]])
    alone, beside = logged
    kept = {"kept_tokens", "kept_share", "supervised_share", "kept_bytes", "epoch", "step"}
    kept |= {"score_mean", "score_std", "score_max"}
    assert beside == [kept, alone[0], kept, alone[1]]


def test_label_smoothing_trains_densely_and_says_so(tmp_path: Path) -> None:
    with (
        pytest.warns(FutureWarning, match="label_smoothing_factor"),
        pytest.warns(TokenSeekNotRunWarning, match="label smoothing"),
    ):
        found = train("SFT", texts(), tmp_path, ALL["restart"], label_smoothing_factor=0.1)
    assert not found.sought


def test_evaluation_in_it_is_untouched(tmp_path: Path) -> None:
    model = tiny_llama()
    made = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to="none",
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(texts()),
        eval_dataset=Dataset.from_list(texts()),
        processing_class=tiny_tokenizer(),
    )
    expected = made.evaluate()
    for name in ("restart", "answers"):
        with apply_tokenseek(model, ALL[name]):
            found = made.evaluate()
        assert found["eval_loss"] == expected["eval_loss"]
        assert found["eval_entropy"] == expected["eval_entropy"]


def test_taking_tokenseek_off_leaves_the_head_of_trl(tmp_path: Path) -> None:
    model = tiny_llama()
    handle = apply_tokenseek(model, ALL["restart"])
    trl.trainer.utils.add_fused_lm_head(model, outputs=("log_probs",))
    head = model.forward
    model.train()
    assert model.forward != head
    handle.remove()
    assert model.forward == head
    ids = torch.arange(3, 9)[None]
    assert model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.shape == (1, 5)
    assert model(input_ids=ids).logits.shape == (1, 6, 14)
    assert "train" not in vars(model)


def test_the_head_of_trl_put_over_tokenseek_is_refused_until_training_begins(
    tmp_path: Path,
) -> None:
    model = tiny_llama().train()
    ids = torch.arange(3, 9)[None]
    with apply_tokenseek(model, ALL["restart"]) as handle:
        trl.trainer.utils.add_fused_lm_head(model, outputs=("log_probs",))
        with pytest.raises(InputError, match=r"must not replace TokenSeek's"):
            model(input_ids=ids, labels=ids, fused_lm_head=True)
        model.train()
        output = model(input_ids=ids, labels=ids, fused_lm_head=True)
        assert handle.last is not None
        assert isinstance(model.forward, types.MethodType)
    expected = model(input_ids=ids, labels=ids, fused_lm_head=True)
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(output.log_probs, expected.log_probs)
    assert torch.equal(output.label_mask, expected.label_mask)
