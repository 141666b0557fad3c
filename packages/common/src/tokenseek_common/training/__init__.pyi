from ._arguments import trainer_arguments
from ._checkpoints import Standing, set_aside, standing_of
from ._finite import FiniteTrainer, Watch
from ._quiet import transformers_quiet
from ._signals import sigterm_restored

__all__ = [
    "FiniteTrainer",
    "Standing",
    "Watch",
    "set_aside",
    "sigterm_restored",
    "standing_of",
    "trainer_arguments",
    "transformers_quiet",
]
