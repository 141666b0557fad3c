"""Look at the routing: figures of a record, pictures of them, and what both are made of."""

# The names stand in the stub beside this file; matplotlib is loaded with those that draw.

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
