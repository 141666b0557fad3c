from ._chunked_loss import chunked_loss
from ._compare import Method, StepCost, compare_steps, methods, using
from ._costs import cost_table
from ._look import Sight, look
from ._profile import StepProfile, profile
from ._profile_settings import ProfileSettings
from ._seen import Seen, SeenToken, seen
from ._seen_page import seen_page
from ._seen_picture import seen_picture
from ._seen_settings import SeenSettings
from ._seen_written import write_sight

__all__ = [
    "Method",
    "ProfileSettings",
    "Seen",
    "SeenSettings",
    "SeenToken",
    "Sight",
    "StepCost",
    "StepProfile",
    "chunked_loss",
    "compare_steps",
    "cost_table",
    "look",
    "methods",
    "profile",
    "seen",
    "seen_page",
    "seen_picture",
    "using",
    "write_sight",
]
