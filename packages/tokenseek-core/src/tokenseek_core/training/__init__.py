"""Fine-tuning, from a model and records to a folder that reopens; interrupted runs go on."""

from tokenseek_core.training._finetune import finetune
from tokenseek_core.training._result import FinetuneResult
from tokenseek_core.training._settings import FinetuneSettings

__all__ = ["FinetuneResult", "FinetuneSettings", "finetune"]
