"""Parameter-efficient fine-tuning of any module: what is trained, what is saved, did it move.

`freeze` and `unfreeze` choose what is trained, `count_parameters` says how much that is,
`parameter_groups` how it is trained, `input_gradients` lets checkpointing reach it, `MovementCheck`
sees that it is; `save_adapter` and `load_adapter` keep it. Patterns are those of a shell, on the
names of `named_parameters`: ``*`` stands for anything, dots too.
"""

from tokenseek_common.tuning._adapters import AdapterCard, load_adapter, read_card, save_adapter
from tokenseek_common.tuning._counting import ParameterCount, PartCount, count_parameters
from tokenseek_common.tuning._freezing import freeze, trainability_restored, unfreeze
from tokenseek_common.tuning._groups import parameter_groups
from tokenseek_common.tuning._input_gradients import input_gradients
from tokenseek_common.tuning._movement import MovementCheck, MovementReport

__all__ = [
    "AdapterCard",
    "MovementCheck",
    "MovementReport",
    "ParameterCount",
    "PartCount",
    "count_parameters",
    "freeze",
    "input_gradients",
    "load_adapter",
    "parameter_groups",
    "read_card",
    "save_adapter",
    "trainability_restored",
    "unfreeze",
]
