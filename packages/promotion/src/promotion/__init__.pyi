from ._config import ProMotionConfig
from ._export import Export, export_model
from ._losses import LossConfig, Losses, losses
from ._model import ProMotion, ProMotionOutput
from ._motion import Motion

__version__: str

__all__ = [
    "Export",
    "LossConfig",
    "Losses",
    "Motion",
    "ProMotion",
    "ProMotionConfig",
    "ProMotionOutput",
    "__version__",
    "export_model",
    "losses",
]
