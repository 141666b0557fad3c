from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tokenseek_common import RunError
from tokenseek_common.cli import Console
from tokenseek_common.training import FiniteTrainer, Watch, trainer_arguments, transformers_quiet

pytest.importorskip("transformers", reason="this package does not depend on it")


class Line(nn.Module):
    """Learns one weight; its loss, or the gradient of it alone, can be spoilt."""

    def __init__(self, *, loss: float = 1.0, gradient: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.loss = loss
        if gradient != 1:
            self.weight.register_hook(lambda found: found * gradient)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.weight * x).mean() * self.loss}


def trainer(model: nn.Module, folder: Path) -> FiniteTrainer:
    arguments = trainer_arguments(folder, device=torch.device("cpu"), max_steps=2, save_steps=2)
    rows = [{"x": torch.ones(1)} for _ in range(8)]
    return FiniteTrainer(remedy="mend it", model=model, args=arguments, train_dataset=rows)


@pytest.mark.parametrize(
    ("model", "told"),
    [(Line(loss=torch.nan), "loss (nan)"), (Line(gradient=torch.inf), "gradient norm (nan)")],
    ids=["loss", "gradient"],
)
def test_a_step_that_is_not_finite_leaves_the_weights_as_they_were(
    model: Line, told: str, tmp_path: Path
) -> None:
    ours = trainer(model, tmp_path)
    with ExitStack() as stack, transformers_quiet():
        ours.add_callback(Watch(ours, Console(quiet=True), stack))
        with pytest.raises(RunError) as stopped:
            ours.train()
    assert str(stopped.value) == (
        f"{told} must be finite, but is not at step 1; mend it (no checkpoint was saved before)"
    )
    assert model.weight.item() == 1


def test_the_progress_shows_the_loss_of_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = trainer(Line(loss=3.0), tmp_path)
    with ExitStack() as stack, transformers_quiet():
        ours.add_callback(Watch(ours, Console(), stack))
        ours.train()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    assert lines[0].startswith("training 1/2  ")
    assert lines[0].endswith("loss 3")
    assert lines[1].startswith("training 2/2  ")
