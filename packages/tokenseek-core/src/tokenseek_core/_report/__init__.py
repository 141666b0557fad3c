"""The parts of a self-contained HTML report: bars, curves, a coloured text, a page around them.

No part knows what is reported. All of them take plain values and escape every text themselves.
"""

from tokenseek_core._report._bars import Bar, Part, bars, stacked_bars
from tokenseek_core._report._curves import Curve, curves, legend
from tokenseek_core._report._heat import Heat, heat_choice, heat_text, readout
from tokenseek_core._report._page import (
    Tile,
    definitions,
    facts_table,
    page,
    paragraph,
    picture,
    section,
    side_by_side,
    tiles,
    together,
)
from tokenseek_core._report._tokens import Shade, shaded_text

__all__ = [
    "Bar",
    "Curve",
    "Heat",
    "Part",
    "Shade",
    "Tile",
    "bars",
    "curves",
    "definitions",
    "facts_table",
    "heat_choice",
    "heat_text",
    "legend",
    "page",
    "paragraph",
    "picture",
    "readout",
    "section",
    "shaded_text",
    "side_by_side",
    "stacked_bars",
    "tiles",
    "together",
]
