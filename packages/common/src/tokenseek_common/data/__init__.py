"""From a file or a hub id to records, to examples (token ids and labels), to batches of tensors."""

from tokenseek_common.data._batches import PaddingCollator, make_loader, pad_batch
from tokenseek_common.data._encoding import encode_record, encode_records
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._prompts import Rendering, Template, Tokenizer, render_record
from tokenseek_common.data._records import Message, Record, record_from_fields
from tokenseek_common.data._sources import load_records
from tokenseek_common.data._splits import train_eval_split

__all__ = [
    "IGNORE_INDEX",
    "Example",
    "Message",
    "PaddingCollator",
    "Record",
    "Rendering",
    "Template",
    "Tokenizer",
    "encode_record",
    "encode_records",
    "load_records",
    "make_loader",
    "pad_batch",
    "record_from_fields",
    "render_record",
    "train_eval_split",
]
