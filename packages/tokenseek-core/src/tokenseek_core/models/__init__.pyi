from ._config_source import load_config
from ._pretrained import load_pretrained
from ._supported import Support, supported
from ._verdict import Verdict

__all__ = [
    "Support",
    "Verdict",
    "load_config",
    "load_pretrained",
    "supported",
]
