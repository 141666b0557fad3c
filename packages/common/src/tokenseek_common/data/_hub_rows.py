"""What `datasets` is asked for: the rows of a data set on the hub, a split at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from socket import getaddrinfo
from urllib.parse import urlsplit
from urllib.request import getproxies

from tokenseek_common._errors import InputError
from tokenseek_common.data._rows import Located

_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")


def hub_rows(source: str, *, split: str, stream: bool, files: str) -> Iterator[Located]:
    """The rows of one split on the hub; `files` says what else a source may be, for the error."""
    hub_id = _HUB_ID.fullmatch(source)
    if hub_id is None:
        raise InputError(
            f"source ({source}) must be {files} or a hub id (owner/name); check the path"
        )
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            f'reading {source} from the hub needs datasets: pip install "tokenseek-common[data]"'
        ) from error
    try:
        with _cache_alone_without_network():
            rows = load_dataset(hub_id["name"], hub_id["config"], split=split, streaming=stream)
        for number, row in enumerate(rows, start=1):
            yield f"{source} ({split}), record {number}", row
    except (OSError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise InputError(
            f"source ({source}) must be an existing file or a readable hub data set ({reason}); "
            "check the name, the split and the connection"
        ) from error


@contextmanager
def _cache_alone_without_network() -> Iterator[None]:
    """Ask the cache alone where the hub's name does not resolve: half a minute of tries is spared.

    Behind a proxy it need not resolve here, so there the hub is asked.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    host = urlsplit(constants.ENDPOINT).hostname
    if host is not None and not getproxies():
        try:
            getaddrinfo(host, None)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
