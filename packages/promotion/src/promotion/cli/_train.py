"""`promotion train`: train a model as a file configures it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate import PartialState

from promotion.training import Trainer, TrainingConfig, read_training_config
from promotion.training._folder import open_training
from promotion.training._log import check_tensorboard, read_log
from promotion.training._processes import start_processes
from promotion.training._start import start_model
from tokenseek_common import InputError, RunError
from tokenseek_common.cli import CommonOptions, Console, first_device, on_unless
from tokenseek_common.training import LostProcessError, Processes, claimed


@dataclass(frozen=True, kw_only=True)
class Train(CommonOptions):
    """Train a model as a YAML file says.

    Writes a folder that ProMotion.from_pretrained opens: the averaged weights. training.yaml there
    says what was trained, log.jsonl how it went; checkpoints stand beside them. A training that was
    interrupted, by SIGTERM or otherwise, goes on with --resume, to the same result. On several
    processes it is started by accelerate launch -m promotion.cli train ..., or torchrun; the batch
    of the file is that of each process.
    """

    config: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The training, such as configs/promotion-tiny.yaml."""

    resume: bool = False
    """Go on with the interrupted training in --output."""

    tensorboard: bool = False
    """Write the figures of the log as events for tensorboard too."""

    movement_check: Annotated[
        bool, on_unless("Do not look whether all that is trained has moved.")
    ] = True
    """After the first steps, tell which parameters have had no gradient or have not moved."""

    seed: int | None = None  # type: ignore[assignment]  # the file has one already
    """Seed of everything random, in place of the file's."""

    dtype: Literal["auto", "float32"] = "auto"
    """Precision: float32, which auto is too."""

    def __post_init__(self) -> None:
        if self.seed is not None:
            super().__post_init__()

    def run(self, console: Console) -> None:
        """Train, on all processes; the main one tells."""
        device = first_device(self.device)
        state = PartialState(cpu=device.type == "cpu")
        with told_once(state), ExitStack() as held:
            accelerator = start_processes()
            processes = Processes(state.num_processes, state.process_index, state.device)
            config, folder = processes.on_first(lambda: self._prepare(held))
            own = console if state.is_main_process else Console(quiet=True)
            started = time.perf_counter()
            Trainer(
                config,
                folder,
                own,
                accelerator=accelerator,
                tensorboard=self.tensorboard,
                movement_check=self.movement_check,
            ).run()
        if state.is_main_process:
            seconds = time.perf_counter() - started
            self._tell(console, config, folder, seconds, state.num_processes)

    def _prepare(self, held: ExitStack) -> tuple[TrainingConfig, Path]:
        """Read the config, open the folder, and hold it."""
        if self.tensorboard:
            check_tensorboard()
        config = read_training_config(self.config)
        if self.seed is not None:
            config = replace(config, seed=self.seed)
        config.open_folders()
        if config.start is not None:
            start_model(config)  # refuses weights that do not fit while there is no folder yet
        folder = open_training(config, self.output, resume=self.resume)
        held.enter_context(claimed(folder))
        return config, folder

    def _tell(
        self,
        console: Console,
        config: TrainingConfig,
        folder: Path,
        seconds: float,
        processes: int,
    ) -> None:
        """Print what came of it."""
        figures = [
            {name: value for name, value in line.items() if name.startswith(FIGURES)}
            for line in read_log(folder)
        ]
        *_, evaluation = filter(None, figures)
        console.print(
            f"{config.steps} steps, in {seconds:.0f} s on {processes} "
            f"{'process' if processes == 1 else 'processes'}: weights in {folder}"
        )
        console.table(
            f"On {config.held_out} held-out scenes" + " and on folders" * bool(config.validation),
            ["figure", "value"],
            list(evaluation.items()),
        )
        console.result(
            {
                "output": folder,
                "steps": config.steps,
                "seconds": seconds,
                "processes": processes,
                "seed": config.seed,
                "evaluation": evaluation,
            }
        )


CODES = {InputError: 2, RunError: 1, KeyboardInterrupt: 130}
"""How `run` leaves after each."""

FIGURES = ("epe", "abs_rel")
"""How the names of an evaluation's figures begin."""


@contextmanager
def told_once(state: PartialState) -> Iterator[None]:
    """Let the main process alone tell what all of them found, and part from the others.

    That one of the others has ended is told by each that has noticed it.
    """
    try:
        yield
    except (InputError, RunError, KeyboardInterrupt) as error:
        state.destroy_process_group()
        if state.is_main_process or isinstance(error, LostProcessError):
            raise
        raise SystemExit(CODES[type(error)]) from None
    state.destroy_process_group()
