from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DataCollatorWithFlattening, PreTrainedModel, Trainer, TrainingArguments
from transformers.modeling_outputs import CausalLMOutput

from families import tiny_batch, tiny_model, with_lora
from taken import always, kept
from tiny_models import checkpointed
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, TokenSeekNotRunWarning, apply_tokenseek

TEXT = (
    "TokenSeek is applied, but the model trains densely, since it was called without labels or in "
    "evaluation mode, or its backbone directly; switch off what computes the loss by itself (label "
    "smoothing, compute_loss_func, a fused head), call model.train(), or take TokenSeek off with "
    "handle.remove()"
)


def trainer(
    model: nn.Module, folder: Path, instances: list[Any], parts: dict[str, Any], **settings: Any
) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **settings,
    )
    return Trainer(model=model, args=arguments, train_dataset=instances, **parts)


def of_tensors() -> list[dict[str, Tensor]]:
    batch = tiny_batch()
    return [{name: value[row] for name, value in batch.items()} for row in range(3)] * 4


def of_lists() -> list[dict[str, list[int]]]:
    return [{"input_ids": row["input_ids"].tolist()} for row in of_tensors()]


def mean_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        ({}, {"label_smoothing_factor": 0.1}),
        ({}, {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2}),
        ({"compute_loss_func": mean_loss}, {}),
    ],
    ids=["label smoothing", "label smoothing, accumulated", "compute_loss_func"],
)
@pytest.mark.parametrize(
    "prepared",
    [lambda model: model, with_lora, checkpointed],
    ids=["full", "lora", "checkpointing"],
)
def test_a_trainer_that_takes_the_labels_away_is_noticed_once(
    tmp_path: Path,
    parts: dict[str, Any],
    settings: dict[str, Any],
    prepared: Callable[[PreTrainedModel], nn.Module],
) -> None:
    model = prepared(tiny_model("llama"))
    with (
        apply_tokenseek(model, always()) as handle,
        pytest.warns(TokenSeekNotRunWarning) as noticed,
    ):
        trainer(model, tmp_path, of_tensors(), parts, **settings).train()
    assert [str(warning.message) for warning in noticed] == [TEXT]
    assert handle.last is None


def test_every_model_of_a_process_is_noticed() -> None:
    batch = tiny_batch()
    del batch["labels"]
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("default")  # which tells each line of code once
        for _ in range(2):
            model = tiny_model("llama")
            with apply_tokenseek(model, always()):
                model(**batch)
    assert len(noticed) == 2


def test_training_in_evaluation_mode_is_noticed() -> None:
    model = tiny_model("llama").eval()
    with apply_tokenseek(model, always()):
        output = model(**tiny_batch())  # no mistake yet
        with pytest.warns(TokenSeekNotRunWarning) as noticed:
            output.loss.backward()
        model(**tiny_batch()).loss.backward()
    assert [str(warning.message) for warning in noticed] == [TEXT]


def test_dense_steps_that_were_asked_for_are_not_noticed() -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, TokenSeekConfig(ratio=0.7)):
        model(**tiny_batch()).loss.backward()
        model.eval()
        model(**tiny_batch()).loss.backward()


def test_the_trainer_packs_sequences(tmp_path: Path) -> None:
    model = tiny_model("llama")
    collator = DataCollatorWithFlattening()
    with apply_tokenseek(model, always()) as handle:
        trainer(model, tmp_path, of_lists(), {"data_collator": collator}).train()
        assert kept(handle, torch.Size((1, 40))).sum() == 12


def test_the_trainer_may_tell_kernels_where_packed_sequences_end(tmp_path: Path) -> None:
    weights = []
    for returned in (False, True):
        model = tiny_model("llama")
        collator = DataCollatorWithFlattening(return_flash_attn_kwargs=returned)
        with apply_tokenseek(model, always()):
            trainer(model, tmp_path, of_lists(), {"data_collator": collator}).train()
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_noise_on_the_embeddings_is_refused_in_the_trainer(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with (
        apply_tokenseek(model, always()),
        pytest.raises(InputError, match=r"neftune_noise_alpha \(5\.0\) must be unset"),
    ):
        trainer(model, tmp_path, of_tensors(), {}, neftune_noise_alpha=5.0).train()


def fused_loss(self: Any, input_ids: Any = None, labels: Any = None, **kwargs: Any) -> Any:
    """As Liger's: with labels the loss alone, without them the logits."""
    logits = self.lm_head(self.model(input_ids=input_ids, **kwargs).last_hidden_state)
    if labels is None:
        return CausalLMOutput(logits=logits)
    return CausalLMOutput(loss=mean_loss(CausalLMOutput(logits=logits), labels))


@pytest.mark.parametrize("known", [True, False], ids=["Liger's", "a stranger's"])
def test_a_forward_put_over_tokenseek_while_the_trainer_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """As `use_liger_kernel` does, in `Trainer.train`."""
    module = "liger_kernel.transformers.model.llama" if known else __name__
    monkeypatch.setattr(fused_loss, "__module__", module)
    model = tiny_model("llama")
    with apply_tokenseek(model, always()) as handle:
        made = trainer(model, tmp_path, of_tensors(), {})
        vars(model)["forward"] = types.MethodType(fused_loss, model)
        if known:
            made.train()
            assert handle.last is not None
        else:
            with pytest.raises(InputError, match=r"fused_loss\) must not replace TokenSeek's"):
                made.train()
    assert model.forward == types.MethodType(fused_loss, model)
