"""From a file or a hub id to records or task samples, to token ids and labels, to batches."""

from tokenseek_common.data._batch_order import BatchOrder
from tokenseek_common.data._batches import PaddingCollator, pad_batch
from tokenseek_common.data._correlations import pearson, spearman
from tokenseek_common.data._encoding import encode_record, encode_records
from tokenseek_common.data._entities import entities, entity_f1
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._known_tasks import (
    TASKS,
    answer_span_task,
    find_task,
    labelled_text_task,
    numbered_text_task,
    tagged_words_task,
)
from tokenseek_common.data._layouts import record_from_fields
from tokenseek_common.data._loading import ResumableLoader, make_loader
from tokenseek_common.data._metrics import (
    accuracy,
    answer_exact_match,
    answer_f1,
    macro_f1,
    multirc_exact_match,
    multirc_f1a,
    normalize_answer,
)
from tokenseek_common.data._mixtures import mix_samples, mixture_rates
from tokenseek_common.data._packing import PackingCollator, pack_batch, pack_lengths
from tokenseek_common.data._prompts import Template, render_record
from tokenseek_common.data._records import Message, Preference, Record
from tokenseek_common.data._renderings import Rendering, Span
from tokenseek_common.data._scores import score_predictions
from tokenseek_common.data._sources import iter_records, load_preferences, load_records
from tokenseek_common.data._splits import stratified_split, train_eval_split
from tokenseek_common.data._streaming import ExampleStream
from tokenseek_common.data._task_classes import (
    ClassificationExample,
    PairTokenizer,
    encode_candidates,
    encode_classification,
)
from tokenseek_common.data._task_encoding import (
    Seq2SeqExample,
    encode_causal,
    encode_prompt,
    encode_seq2seq,
)
from tokenseek_common.data._task_sources import load_rows, load_task
from tokenseek_common.data._task_texts import (
    ClassificationText,
    TextToText,
    render_candidates,
    render_classification,
    render_text_to_text,
)
from tokenseek_common.data._tasks import Task, TaskSample
from tokenseek_common.data._tokenizers import Tokenizer
from tokenseek_common.data._vocabulary import check_vocabulary

__all__ = [
    "IGNORE_INDEX",
    "TASKS",
    "BatchOrder",
    "ClassificationExample",
    "ClassificationText",
    "Example",
    "ExampleStream",
    "Message",
    "PackingCollator",
    "PaddingCollator",
    "PairTokenizer",
    "Preference",
    "Record",
    "Rendering",
    "ResumableLoader",
    "Seq2SeqExample",
    "Span",
    "Task",
    "TaskSample",
    "Template",
    "TextToText",
    "Tokenizer",
    "accuracy",
    "answer_exact_match",
    "answer_f1",
    "answer_span_task",
    "check_vocabulary",
    "encode_candidates",
    "encode_causal",
    "encode_classification",
    "encode_prompt",
    "encode_record",
    "encode_records",
    "encode_seq2seq",
    "entities",
    "entity_f1",
    "find_task",
    "iter_records",
    "labelled_text_task",
    "load_preferences",
    "load_records",
    "load_rows",
    "load_task",
    "macro_f1",
    "make_loader",
    "mix_samples",
    "mixture_rates",
    "multirc_exact_match",
    "multirc_f1a",
    "normalize_answer",
    "numbered_text_task",
    "pack_batch",
    "pack_lengths",
    "pad_batch",
    "pearson",
    "record_from_fields",
    "render_candidates",
    "render_classification",
    "render_record",
    "render_text_to_text",
    "score_predictions",
    "spearman",
    "stratified_split",
    "tagged_words_task",
    "train_eval_split",
]
