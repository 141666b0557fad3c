from ._apply import TokenSeekHandle, TokenSeekNotRunWarning, apply_tokenseek
from ._callback import TokenSeekCallback
from ._config import TokenSeekConfig
from ._signals import Signals
from ._step import StepReport

__version__: str

__all__ = [
    "Signals",
    "StepReport",
    "TokenSeekCallback",
    "TokenSeekConfig",
    "TokenSeekHandle",
    "TokenSeekNotRunWarning",
    "__version__",
    "apply_tokenseek",
]
