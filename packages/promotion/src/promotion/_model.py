"""ProMotion: one prototype-based model for optical flow and depth.

    pictures -> encoder -> denoiser -> prototypes -> flow decoder -> depth decoder

An implementation after Lu et al., "ProMotion: Prototypes As Motion Learners" (CVPR 2024); what the
paper leaves open is a reconstruction, which the README lists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, Int
from torch import Tensor, nn

from promotion._config import ProMotionConfig
from promotion._features import Features
from promotion._motion import Motion
from promotion._pictures import Picture, as_picture
from promotion._predict import Settings, predict, predict_both, predict_frames
from promotion._pretrained import MODEL_CARD, SHIPPED, load_pretrained
from promotion._seen import SeenPicture
from promotion._views import MOST_PIXELS, Quality
from promotion.nn import (
    STRIDE,
    DepthDecoder,
    Encoder,
    FeatureDenoiser,
    FlowDecoder,
    PrototypeLearner,
)
from tokenseek_common import InputError

TaskName = Literal["flow", "depth"]
BOTH: tuple[TaskName, ...] = ("flow", "depth")


@dataclass(frozen=True)
class ProMotionOutput:
    """What the model makes of a batch.

    Args:
        flows: Pixels, right and down; in training of the start and each step, else the last.
        depths: Metres; in training of each step, else the last.
        coarse: The last flow in cells of `STRIDE` pixels.
        assignments: The prototype of each cell of the first frame.
        denoising_loss: Of each picture, the second frames after the first, in training.
        margin_loss: The same of the prototypes.
    """

    flows: list[Float[Tensor, "b 2 h w"]] = field(default_factory=list)
    depths: list[Float[Tensor, "b h w"]] = field(default_factory=list)
    coarse: Float[Tensor, "b 2 i j"] | None = None
    assignments: Int[Tensor, "b i j"] | None = None
    denoising_loss: Float[Tensor, "p"] | None = None
    margin_loss: Float[Tensor, "p"] | None = None


torch.export.register_dataclass(ProMotionOutput)  # without, a model cannot be exported


class ProMotion(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="promotion-flow",
    tags=["optical-flow", "depth-estimation"],
    license="apache-2.0",
    model_card_template=MODEL_CARD,
):
    """Optical flow of two frames and depth of the first.

    Args:
        config: The sizes; None is "tiny".

    Example:
        >>> model = ProMotion(ProMotionConfig.size("nano")).eval()
        >>> model(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96)).flows[0].shape
        torch.Size([1, 2, 64, 96])
    """

    def __init__(self, config: ProMotionConfig | dict[str, Any] | None = None) -> None:
        super().__init__()
        if isinstance(config, dict):  # as from_pretrained reads it
            config = ProMotionConfig(**config)
        self.config = config = config or ProMotionConfig()
        self.encoder = Encoder((config.stem, config.quarter, config.channels))
        self.denoiser = (
            FeatureDenoiser(
                config.channels,
                blocks=config.denoiser_blocks,
                heads=config.heads,
                pooling=config.pooling,
            )
            if config.denoiser_blocks
            else None
        )
        self.learner = (
            PrototypeLearner(
                config.channels,
                prototypes=config.prototypes,
                dimensions=config.dimensions,
                em_steps=config.em_steps,
                momentum=config.momentum,
                assignment=config.assignment,
                memory=config.memory,
            )
            if config.prototypes
            else None
        )
        self.flow = FlowDecoder(
            config.channels,
            hidden=config.hidden,
            radius=config.radius,
            levels=config.levels,
            matching=config.matching or None,
        )
        self.depth = DepthDecoder(config.channels, hidden=config.hidden, steps=config.depth_steps)

    def forward(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 u v"] | None = None,
        *,
        tasks: Collection[TaskName] = BOTH,
        iterations: int | None = None,
        start: Float[Tensor, "b 2 i j"] | None = None,
        moving: Float[Tensor, "b"] | None = None,
    ) -> ProMotionOutput:
        """Run the network on pictures whose sides are multiples of `STRIDE`.

        Args:
            image1: First frames, in [0, 1].
            image2: Second frames; None gives depth from the first alone, and no flow.
            tasks: What is wanted; without flow, depth is that of the first frames alone.
            iterations: Of the flow decoder; None as configured.
            start: Flow to begin with, in cells of `STRIDE` pixels; None begins by matching.
            moving: 1 where depth may use the motion, 0 where it sees the first frame alone.

        Raises:
            InputError: The pictures differ in shape, or do not divide into cells.
        """
        self._check(image1, image2)
        if "flow" not in tasks:
            image2 = None
        pictures = image1 if image2 is None else torch.cat([image1, image2])
        found = self.extract(pictures)
        count = image1.shape[0]  # a symbol where the model is exported, which len would fix
        first = found.features[:count]
        output = ProMotionOutput(
            assignments=None if found.assignments is None else found.assignments[:count],
            denoising_loss=found.denoising_loss,
            margin_loss=found.margin_loss,
        )
        motion = None
        if image2 is not None:
            decoded = self.flow(
                first,
                found.features[count:],
                iterations=self.config.iterations if iterations is None else iterations,
                start=start,
            )
            output = replace(output, flows=decoded.flows, coarse=decoded.coarse)
            # Depth looks at the motion and does not shape it.
            motion = torch.cat([decoded.state, decoded.coarse], 1).detach()
        if "depth" in tasks:
            output = replace(output, depths=self.depth(first, motion, moving))
        return output

    def predict(
        self,
        image1: Picture,
        image2: Picture | None = None,
        *,
        iterations: int | None = None,
        quality: Quality = "balanced",
        confidence: bool = False,
    ) -> Motion:
        """Find motion and depth in pictures of any size, as a model in evaluation mode does.

        Args:
            image1: First frame: a path, an array or PIL image `[h, w, 3]`, or a tensor `[3, h, w]`.
            image2: Second frame, of the same size; None gives depth alone.
            iterations: Of the flow decoder in each view, four times as many in the first and twice
                in the second; None as configured.
            quality: How fine a view the network itself looks at: "fast" of 131,072 pixels at most,
                "balanced" of 1.5 million, "best" of four million.
            confidence: Whether to find the motion back too, from which confidence and occlusion
                come; it doubles the work.

        Returns:
            What was found, at the size of the pictures, on the model's device.

        Raises:
            InputError: A picture cannot be used, the two differ in size, or an option is out of
                its range.

        Example:
            >>> ProMotion().predict("a.png", "b.png").flow.shape  # doctest: +SKIP
            torch.Size([2, 375, 1242])
        """
        settings = self._settings(iterations, quality, confidence)
        with self._evaluating():
            first = self._seen(image1, "image1")
            second = None if image2 is None else self._seen(image2, "image2")
            if second is not None:
                self._check_alike(first.picture, second.picture)
            return predict(first, second, settings)

    def predict_frames(
        self,
        frames: Iterable[Picture],
        *,
        iterations: int | None = None,
        quality: Quality = "balanced",
        confidence: bool = False,
    ) -> Iterator[Motion]:
        """Find the motion of each frame to the next, and its depth, encoding each frame once.

        Args:
            frames: Two or more of one size, as `predict` takes them, read as they are needed.
            iterations: As of `predict`, and so on.
            quality: As of `predict`.
            confidence: As of `predict`.

        Yields:
            What was found of each frame; of the last its depth, for which the frame before it is
            the partner.

        Raises:
            InputError: As of `predict`.
        """
        settings = self._settings(iterations, quality, confidence)
        with self._evaluating():
            yield from predict_frames(self._alike(frames), settings)

    def predict_both_ways(
        self,
        frames: Iterable[Picture],
        *,
        iterations: int | None = None,
        quality: Quality = "balanced",
    ) -> Iterator[tuple[Motion, Motion]]:
        """Find the motion of each frame to the next and back, encoding each frame once.

        Args:
            frames: Two or more of one size, as `predict` takes them, read as they are needed.
            iterations: As of `predict`.
            quality: As of `predict`.

        Yields:
            What `predict` finds with confidence from each frame to the next, and from that to it.

        Raises:
            InputError: As of `predict`.
        """
        settings = self._settings(iterations, quality, True)
        with self._evaluating():
            for first, second in pairwise(self._alike(frames)):
                yield predict_both(first, second, settings)

    def _settings(self, iterations: int | None, quality: Quality, confidence: bool) -> Settings:
        if quality not in MOST_PIXELS:
            raise InputError(
                f"quality ({quality}) must be one of {', '.join(MOST_PIXELS)}; choose one"
            )
        if iterations is None:
            iterations = self.config.iterations
        if iterations < 1:
            raise InputError(f"iterations ({iterations}) must be at least 1; choose more")
        return Settings(iterations, quality, confidence)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def _seen(self, picture: Picture, name: str) -> SeenPicture:
        device = next(self.parameters()).device
        return SeenPicture(self, as_picture(picture, name).to(device))

    def _alike(self, frames: Iterable[Picture]) -> Iterator[SeenPicture]:
        first = None
        for number, frame in enumerate(frames):
            seen = self._seen(frame, f"frame {number}")
            shape = tuple(seen.picture.shape)
            first = first or shape
            if shape != first:
                raise InputError(
                    f"frame {number} ({shape}) must have the shape of frame 0 ({first}); resize "
                    "one of them"
                )
            yield seen

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *,
        config: ProMotionConfig | None = None,
        **options: Any,
    ) -> ProMotion:
        """Load weights, in evaluation mode.

        Args:
            pretrained_model_name_or_path: A folder that `save_pretrained` wrote, or a hub id; None
                loads the weights that the package carries, of the size "tiny".
            config: In place of the one that lies beside the weights; it must have their shapes.
            options: Of `huggingface_hub.snapshot_download`, such as `revision` and `token`.

        Raises:
            InputError: There are no such weights, or they do not fit the config.

        Example:
            >>> ProMotion.from_pretrained().config.channels
            64
        """
        source = pretrained_model_name_or_path or SHIPPED
        return load_pretrained(cls, str(source), config, **options)

    def extract(
        self, pictures: Float[Tensor, "p 3 h w"], *, most_keys: int | None = None
    ) -> Features:
        """Encode, denoise, and synchronise with the prototypes."""
        features, denoising_loss = self.encoder(pictures), None
        if self.denoiser is not None:
            features, denoising_loss = self.denoiser(features, most_keys=most_keys)
        if self.learner is None:
            return Features(features, None, denoising_loss, None)
        learned = self.learner(features)
        return Features(learned.features, learned.assignments, denoising_loss, learned.margin_loss)

    def _check_alike(self, image1: Tensor, image2: Tensor) -> None:
        if image1.shape != image2.shape:
            raise InputError(
                f"image2 ({tuple(image2.shape)}) must have the shape of image1 "
                f"({tuple(image1.shape)}); resize one of them"
            )

    def _check(self, image1: Tensor, image2: Tensor | None) -> None:
        if image2 is not None:
            self._check_alike(image1, image2)
        height, width = image1.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise InputError(
                f"image1 ({height} x {width}) must have sides that are multiples of {STRIDE}; "
                "use predict, which pads"
            )
