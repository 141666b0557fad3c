"""Prototypes as motion learners: optical flow and depth from one model."""

from importlib.metadata import version

from promotion._config import ProMotionConfig
from promotion._losses import LossConfig, Losses, losses
from promotion._model import ProMotion, ProMotionOutput
from promotion._motion import Motion

__all__ = [
    "LossConfig",
    "Losses",
    "Motion",
    "ProMotion",
    "ProMotionConfig",
    "ProMotionOutput",
    "__version__",
    "losses",
]

__version__ = version("promotion-flow")
