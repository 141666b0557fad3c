from ._chunked_loss import chunked_loss
from ._compare import Method, StepCost, compare_steps, methods, using
from ._costs import cost_table
from ._profile import StepProfile, profile
from ._profile_settings import ProfileSettings

__all__ = [
    "Method",
    "ProfileSettings",
    "StepCost",
    "StepProfile",
    "chunked_loss",
    "compare_steps",
    "cost_table",
    "methods",
    "profile",
    "using",
]
