"""What the commands of `mept` share: samples of tasks, models, training and scores."""

from mept.training._asked import Asked
from mept.training._choices import ChoiceForm
from mept.training._classification import ClassificationForm
from mept.training._docstrings import DOCSTRINGS, docstring_samples
from mept.training._fit import Fitted, Schedule, fit
from mept.training._forms import Form, FormName, Questions
from mept.training._likelihood import log_likelihood
from mept.training._models import Base, load_base, load_config
from mept.training._prompts import load_adapter, with_prompts
from mept.training._recorded import record_samples
from mept.training._regression import RegressionForm
from mept.training._scores import Scores, score_samples
from mept.training._sizes import PromptSizes, prompt_sizes
from mept.training._sources import OwnTask, TaskSource, TaskSplits, find_sources, load_splits
from mept.training._spans import Marked, SpanForm
from mept.training._text_to_text import CausalForm, Seq2SeqForm, TextToTextForm
from mept.training._words import Tagged, WordForm

__all__ = [
    "DOCSTRINGS",
    "Asked",
    "Base",
    "CausalForm",
    "ChoiceForm",
    "ClassificationForm",
    "Fitted",
    "Form",
    "FormName",
    "Marked",
    "OwnTask",
    "PromptSizes",
    "Questions",
    "RegressionForm",
    "Schedule",
    "Scores",
    "Seq2SeqForm",
    "SpanForm",
    "Tagged",
    "TaskSource",
    "TaskSplits",
    "TextToTextForm",
    "WordForm",
    "docstring_samples",
    "find_sources",
    "fit",
    "load_adapter",
    "load_base",
    "load_config",
    "load_splits",
    "log_likelihood",
    "prompt_sizes",
    "record_samples",
    "score_samples",
    "with_prompts",
]
