"""Which cells there are, cheapest and most telling first, and what each is expected to take.

Nothing here loads torch: the process that plans holds no memory of the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SECTIONS = ("correctness", "cost", "learning", "motion")

STEPS = (
    "dense",
    "dense+checkpointing",
    "dense+checkpointing+chunked",
    *(
        f"{seeking}{option}"
        for seeking in ("random-10", "paper-10", "default-10", "default-30")
        for option in ("", "+checkpointing")
    ),
    "dense+sixteenth",
    "dense+checkpointing+chunked+sixteenth",
    "default-10+sixteenth",
    "answers-10+sixteenth",
    "answers-10+checkpointing+sixteenth",
)
"""Methods that are compared, as `steps.way_of` reads them."""

COUNTED = ("dense", "random-10", "paper-10", "default-10", "default-30")
LONGEST = (
    "dense",
    "dense+checkpointing+chunked",
    "default-10",
    "default-10+checkpointing",
    "random-10+checkpointing",
    "dense+checkpointing",
)
LEARNING = (
    "answers-10",
    "default-10",
    "default-30",
    "random-10",
    "random-30",
    "paper-10",
    "paper-30",
    "dense+checkpointing",
)
FAMILIES = ("llama", "qwen2", "mistral", "gemma3_text", "gpt_neox")


@dataclass(frozen=True)
class Cell:
    """One thing that is measured.

    Args:
        name: Section and cell: its record's path.
        function: What measures it, `module:function`.
        arguments: Of that function.
        seconds: That it takes on a fast device.
        together: Whether others may run beside it: it measures no time.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    seconds: float
    together: bool = False

    @property
    def section(self) -> str:
        """The section that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def limit(self) -> float:
        """Seconds after which it has failed; a slow device is waited for."""
        return 30 + 5 * self.seconds


@dataclass(frozen=True)
class Sizes:
    """How large everything is: for an accelerator, or for a test on a CPU.

    Args:
        shape: Of the decoder whose steps are measured.
        batches: Rows and tokens of each batch, with the seconds of a dense step.
        counted: Rows and tokens of the step whose kernels are counted.
        caps_mib: Memories that an instance is to fit.
        lengths: The shortest instance that is tried, the longest, and the grid between them.
        task: Of learning.
        steps: Of a dense training; shorter ones say what others are worth.
        half: Width, layers and tokens of the decoder that is compared in bfloat16.
        compared: Pictures that are compared with the CPU's.
        pictures: Pictures whose cost is measured, with its seconds.
        dtypes: Types that it is measured in.
        trained: Size of the model, pictures and batch of a training.
    """

    shape: str
    batches: tuple[tuple[int, int, float], ...]
    counted: tuple[int, int]
    caps_mib: tuple[float, ...]
    lengths: tuple[int, int, int]
    task: str
    steps: tuple[int, ...]
    half: tuple[int, int, int]
    compared: tuple[int, int]
    pictures: tuple[tuple[int, int, float], ...]
    dtypes: tuple[str, ...]
    trained: tuple[tuple[str, int, int, int], ...]


FULL = Sizes(
    shape="llama-3.2-1b",
    batches=((1, 2048, 0.06), (1, 8192, 0.2), (8, 2048, 0.35), (1, 32768, 1.2)),
    counted=(1, 2048),
    caps_mib=(24 * 1024, 80 * 1024),
    lengths=(2048, 262_144, 1024),
    task="real",
    steps=(240, 120, 60),
    half=(1024, 4, 1024),
    compared=(192, 256),
    pictures=((436, 1024, 6), (1080, 1920, 12), (2160, 3840, 30)),
    dtypes=("float32", "float16"),
    trained=(("tiny", 256, 320, 4), ("base", 256, 320, 4)),
)
TOY = Sizes(
    shape="toy",
    batches=((1, 32, 0.06),),
    counted=(1, 32),
    caps_mib=(1,),
    lengths=(32, 256, 32),
    task="toy",
    steps=(12, 6),
    half=(64, 2, 32),
    compared=(64, 96),
    pictures=((64, 96, 2),),
    dtypes=("float32",),
    trained=(("nano", 64, 96, 2),),
)


def plan(sizes: Sizes) -> list[Cell]:
    """All cells, in the order that they are measured in."""
    short, *longer = sizes.batches
    return [
        *correctness(sizes),
        *costs(sizes, "full", short),
        *motion_costs(sizes),
        *(cell for batch in longer[:1] for cell in costs(sizes, "full", batch)),
        *(cell for batch in sizes.batches[:2] for cell in costs(sizes, "lora", batch)),
        *longest(sizes, "full", sizes.caps_mib[0]),
        *learning(sizes, "lora"),
        *(cell for batch in longer[1:] for cell in costs(sizes, "full", batch)),
        *longest(sizes, "lora", sizes.caps_mib[0]),
        *learning(sizes, "full"),
        *(cell for batch in sizes.batches[2:] for cell in costs(sizes, "lora", batch)),
        *(
            cell
            for cap in sizes.caps_mib[1:]
            for tuning in ("full", "lora")
            for cell in longest(sizes, tuning, cap)
        ),
    ]


def correctness(sizes: Sizes) -> Iterator[Cell]:
    """Whether the device computes what the CPU does, and what a step asks of it."""
    rows, length = sizes.counted
    step = {"shape": sizes.shape, "rows": rows, "length": length}
    width, layers, tokens = sizes.half
    height, columns = sizes.compared
    pictures = {"height": height, "width": columns}
    for family in FAMILIES:
        function = "accelerator.exactness:family_gradients"
        yield Cell(f"correctness/tokenseek-{family}", function, {"family": family}, 6)
    yield Cell(
        "correctness/tokenseek-bfloat16",
        "accelerator.exactness:bfloat16_gradients",
        {"width": width, "layers": layers, "length": tokens},
        5,
    )
    for family in ("llama", "t5", "bert"):
        function = "accelerator.prompts:prompt_gradients"
        yield Cell(f"correctness/mept-{family}", function, {"family": family}, 2)
    yield Cell("correctness/promotion-float64", "accelerator.motion:model_gradients", pictures, 5)
    yield Cell("correctness/promotion-float32", "accelerator.motion:prediction", pictures, 5)
    for method in ("dense", "default-10"):
        yield Cell(
            f"correctness/memory-{method}",
            "accelerator.counts:memory_counts",
            step | {"method": method},
            4,
        )
    for method in COUNTED:
        yield Cell(
            f"correctness/counts-{method}",
            "accelerator.counts:step_counts",
            step | {"method": method},
            5,
        )


def costs(sizes: Sizes, tuning: str, batch: tuple[int, int, float]) -> Iterator[Cell]:
    """Memory and time of a step of each method."""
    rows, length, dense = batch
    for method in STEPS:
        seconds = dense * (3.5 if method.startswith(("paper", "default")) else 1.4)
        timed = min(5.0, max(2.0, 6 / seconds))
        yield Cell(
            f"cost/{tuning}-{rows}x{length}-{method}",
            "accelerator.steps:step_cost",
            {
                "shape": sizes.shape,
                "tuning": tuning,
                "method": method,
                "rows": rows,
                "length": length,
            },
            0.7 + (2 + timed) * seconds,
        )


def longest(sizes: Sizes, tuning: str, cap_mib: float) -> Iterator[Cell]:
    """The longest instance that fits a memory."""
    seconds = 10.0 if cap_mib == sizes.caps_mib[0] else 40.0
    for method in LONGEST:
        yield Cell(
            f"cost/longest-{cap_mib / 1024:.3g}-{tuning}-{method}",
            "accelerator.longest:longest",
            {
                "shape": sizes.shape,
                "tuning": tuning,
                "method": method,
                "cap_mib": cap_mib,
                "lengths": list(sizes.lengths),
                "seconds": seconds,
            },
            seconds,
        )


def learning(sizes: Sizes, tuning: str) -> Iterator[Cell]:
    """What steps of each method learn, and their pace."""
    chosen = {"task": sizes.task, "tuning": tuning}
    most = sizes.steps[0]
    yield Cell(
        f"learning/{tuning}-paces",
        "accelerator.learning:paces",
        chosen | {"methods": ["dense", *LEARNING]},
        25,
    )
    for method, steps in [*(("dense", s) for s in sizes.steps), *((m, most) for m in LEARNING)]:
        yield Cell(
            f"learning/{tuning}-{method}-{steps}",
            "accelerator.learning:trained_loss",
            chosen | {"method": method, "steps": steps},
            10 + steps * (0.2 if method == "dense" else 0.3),
            together=True,
        )


def motion_costs(sizes: Sizes) -> Iterator[Cell]:
    """Time and memory of a pair, and training steps a second."""
    for height, width, seconds in sizes.pictures:
        for dtype in sizes.dtypes:
            yield Cell(
                f"motion/pair-{height}x{width}-{dtype}",
                "accelerator.motion:pair_cost",
                {"height": height, "width": width, "dtype": dtype},
                seconds,
            )
    for size, height, width, batch in sizes.trained:
        yield Cell(
            f"motion/training-{size}-{batch}x{height}x{width}",
            "accelerator.motion:training_pace",
            {"size": size, "height": height, "width": width, "batch": batch},
            8,
        )
