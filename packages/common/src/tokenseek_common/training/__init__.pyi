from ._arguments import trainer_arguments
from ._checkpoints import Standing, set_aside, standing_of
from ._ending import train_to_end
from ._finite import FiniteTrainer, Watch
from ._memory_callback import MemoryCallback
from ._processes import LostProcessError, Processes
from ._quiet import transformers_quiet
from ._signals import asked_to_end, ended
from ._writing import claimed, saving

__all__ = [
    "FiniteTrainer",
    "LostProcessError",
    "MemoryCallback",
    "Processes",
    "Standing",
    "Watch",
    "asked_to_end",
    "claimed",
    "ended",
    "saving",
    "set_aside",
    "standing_of",
    "train_to_end",
    "trainer_arguments",
    "transformers_quiet",
]
