"""Around the Trainer of transformers: its settings, checkpoints that are whole, SIGTERM."""

from tokenseek_common.training._arguments import trainer_arguments
from tokenseek_common.training._checkpoints import Standing, set_aside, standing_of
from tokenseek_common.training._signals import sigterm_restored

__all__ = ["Standing", "set_aside", "sigterm_restored", "standing_of", "trainer_arguments"]
