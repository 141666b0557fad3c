"""Parts of the model, each a plain module or function of its own."""

from promotion.nn._correlation import AllPairs, OnDemand, correlation
from promotion.nn._denoiser import FeatureDenoiser, SubspaceBlock
from promotion.nn._depth_decoder import DepthDecoder
from promotion.nn._encoder import STRIDE, Encoder, ResidualBlock
from promotion.nn._flow_decoder import DecodedFlow, FlowDecoder
from promotion.nn._gru import ConvGRU
from promotion.nn._margin import LargeMarginProjection, margin_loss
from promotion.nn._matching import GlobalMatching
from promotion.nn._memory import PrototypeMemory
from promotion.nn._prototypes import Assignment, Prototyped, PrototypeLearner
from promotion.nn._sinkhorn import sinkhorn
from promotion.nn._upsample import convex_upsample

__all__ = [
    "STRIDE",
    "AllPairs",
    "Assignment",
    "ConvGRU",
    "DecodedFlow",
    "DepthDecoder",
    "Encoder",
    "FeatureDenoiser",
    "FlowDecoder",
    "GlobalMatching",
    "LargeMarginProjection",
    "OnDemand",
    "PrototypeLearner",
    "PrototypeMemory",
    "Prototyped",
    "ResidualBlock",
    "SubspaceBlock",
    "convex_upsample",
    "correlation",
    "margin_loss",
    "sinkhorn",
]
