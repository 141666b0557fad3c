"""Which rows of a batch carry gradient, where a step replays some of them after a recorded pass.

One package records and selects, another may have put rows of its own in front of the tokens; this
is what they tell each other. Pass one runs all rows without gradient; pass two runs the rows of a
selection S with gradient, and takes the others from the record. With sg the stop-gradient, every
value that a kept row reads of row j, its key and value among them, is

    x~_j = x_j where j is in S, else sg(x_j)                                                     (1)

An adapter that puts p rows in front of n tokens, in every layer, obeys three rules besides.

Its rows are kept in every instance, and stand at the front once, whatever is selected of the
tokens T:

    S' = {0, ..., p - 1} union {p + t : t in T}                                                  (2)

Its choices, say the experts that an input is routed to, and its draws are those of pass one,
whatever a new draw or a few rows would say. The keyword argument `row_pass` of the call gives it a
`RowRecord` in pass one, in which it writes them by the name of its layer, and how many rows it put
in front. In pass two it is the `RowSelection`, from which it reads both.

What it pools over the tokens is pooled over all of them, and only the kept ones carry gradient.
With u_j what it reads of token j, m_j its weight, and c the divisor, pass one keeps s, and pass two
needs no other row than those that it runs:

    s = 1/c sum_j m_j u_j,   s~ = sg(s) + 1/c sum_{j in T} m_j (u_j - sg(u_j))                  (3)

By (1), this is 1/c sum_j m_j u~_j: its value is that of pass one, its gradient that of kept rows.
So a row outside S has no gradient in any layer, and none of its activations is needed.
"""

from tokenseek_common.rows._anchored import anchored
from tokenseek_common.rows._method import RowMethod, row_method
from tokenseek_common.rows._record import RowRecord
from tokenseek_common.rows._selection import RowSelection

__all__ = ["RowMethod", "RowRecord", "RowSelection", "anchored", "row_method"]
