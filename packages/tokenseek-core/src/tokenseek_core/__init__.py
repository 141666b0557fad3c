"""Fine-tune Hugging Face decoders while back-propagating through the tokens that matter."""

from importlib.metadata import version

from tokenseek_core._apply import TokenSeekHandle, TokenSeekNotRunWarning, apply_tokenseek
from tokenseek_core._callback import TokenSeekCallback
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._signals import Signals
from tokenseek_core._step import StepReport

__version__ = version("tokenseek-core")

__all__ = [
    "Signals",
    "StepReport",
    "TokenSeekCallback",
    "TokenSeekConfig",
    "TokenSeekHandle",
    "TokenSeekNotRunWarning",
    "apply_tokenseek",
]
