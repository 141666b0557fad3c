"""What an option may call a precision; apart, since options do not wait for torch."""

from typing import Literal, TypeAlias

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""A floating-point type, or "auto" for what suits the device; `resolve_dtype` makes the type."""
