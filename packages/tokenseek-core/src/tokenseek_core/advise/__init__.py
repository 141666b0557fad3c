"""How to fine-tune one's own model on one's own data: what each way takes, and which to choose."""

from tokenseek_core.advise._advise import advise
from tokenseek_core.advise._option import Option
from tokenseek_core.advise._recommendation import Recommendation
from tokenseek_core.advise._result import Advice, Material, option_table
from tokenseek_core.advise._settings import AdviseSettings

__all__ = [
    "Advice",
    "AdviseSettings",
    "Material",
    "Option",
    "Recommendation",
    "advise",
    "option_table",
]
