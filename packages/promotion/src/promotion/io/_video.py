"""Videos, frame by frame, through PyAV."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from promotion.io._errors import FileFormatError, reason
from promotion.io._files import opened
from promotion.io._limit import check_pixels
from tokenseek_common import InputError

VIDEO_FORMATS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
"""What is taken for a video, by suffix."""


@dataclass(frozen=True)
class VideoFile:
    """A video, read anew each time that it is gone through; one frame is in memory.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, or the extra ``[video]`` is.
        FileFormatError: It is no video; when it is looked into.

    Example:
        >>> for frame in VideoFile(Path("street.mp4")):  # doctest: +SKIP
        ...     frame.shape
        torch.Size([3, 720, 1280])
    """

    path: Path

    def __post_init__(self) -> None:
        _av(self.path)
        with opened(self.path):
            pass

    def __iter__(self) -> Iterator[Float[Tensor, "3 h w"]]:
        """Frames in [0, 1], turned as the file says."""
        with self._stream() as (container, stream):
            for frame in container.decode(stream):
                check_pixels(str(self.path), height=frame.height, width=frame.width)
                pixels: np.ndarray = frame.to_ndarray(format="rgb24")
                upright = np.rot90(pixels, frame.rotation // 90).copy()
                yield torch.from_numpy(upright).permute(2, 0, 1) / 255

    def __len__(self) -> int:
        """How many frames it has; none is decoded."""
        with self._stream() as (container, stream):
            return sum(p.size > 0 and not p.is_discard for p in container.demux(stream))

    @property
    def fps(self) -> float:
        """Frames a second, on average."""
        with self._stream() as (_, stream):
            return float(stream.average_rate or 25)

    @contextmanager
    def _stream(self) -> Iterator[tuple[Any, Any]]:
        av = _av(self.path)
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                if not container.streams.video:
                    raise FileFormatError(f"{self.path} must hold a video stream; name another")
                stream = container.streams.video[0]
                check_pixels(str(self.path), height=stream.height, width=stream.width)
                yield container, stream
        except FileFormatError:
            raise
        except Exception as error:  # PyAV raises a dozen kinds for damaged bytes
            said = getattr(error, "strerror", None) or reason(error)
            raise FileFormatError(
                f"{self.path} must be a video that ffmpeg reads ({said}); convert it"
            ) from error


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Writes pictures as an H.264 video, one after the other.

    The file is there whole or not at all. A row or column is repeated where a side is odd, which
    most players cannot show.

    Args:
        path: Ends in ``.mp4``.
        fps: Frames a second.

    Raises:
        InputError: The suffix is another, or the extra ``[video]`` is missing.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        if path.suffix.lower() != ".mp4":
            raise InputError(f"{path} must end in .mp4; rename it")
        self.path, self.fps = path, fps
        self._av = _av(path)
        self._part = path.with_name(f".{path.stem}.part.mp4")
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: UInt8[Tensor, "3 h w"]) -> None:
        """Write the next frame, of the size of the first."""
        height, width = picture.shape[-2:]
        pixels = np.pad(
            picture.cpu().permute(1, 2, 0).numpy(),
            ((0, height % 2), (0, width % 2), (0, 0)),
            mode="edge",
        )
        if self._container is None:
            self._container = self._av.open(str(self._part), "w")
            rate = Fraction(self.fps).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=rate)
            self._stream.height, self._stream.width = pixels.shape[:2]
            self._stream.pix_fmt = "yuv420p"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is not None:
            with self._container:
                self._container.mux(self._stream.encode())
            if kind is None:
                self._part.replace(self.path)
        self._part.unlink(missing_ok=True)


def _av(path: Path) -> Any:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise InputError(
            f'{path} must be opened with PyAV, which is absent; pip install "promotion-flow[video]"'
        ) from None
