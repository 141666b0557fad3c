"""Around the Trainer of transformers: its settings, checkpoints that are whole, signals to end."""

# The names stand in the stub beside this file; each is loaded when it is first used, and
# transformers with those that are built on it alone.

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
