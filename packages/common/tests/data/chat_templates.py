"""Chat templates, each with one trait of a family of models, written for these tests."""

from __future__ import annotations

CHATML = """
{%- for turn in messages %}
{{- '<|start|>' + turn.role + '\\n' + turn.content + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{% endif %}"""

DEFAULT_SYSTEM = (
    """
{%- if messages[0].role != 'system' %}{{- '<|start|>system\\nBe kind.<|end|>\\n' }}{% endif %}"""
    + CHATML
)
"""As Qwen 2 and SmolLM 2: a system turn where the conversation has none."""

MARKED = """
{%- for turn in messages %}
{{- '<|start|>' + turn.role + '\\n' }}
{%- if turn.role == 'assistant' %}{% generation %}{{- turn.content + '<|end|>' }}{% endgeneration %}
{%- else %}{{- turn.content + '<|end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}"""
"""What is generated stands between marks."""

FORGETFUL = """
{%- for turn in messages %}
{{- '<|start|>' + turn.role + '\\n' }}
{%- if turn.role != 'assistant' or loop.last %}{{- turn.content }}{% endif %}
{{- '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{% endif %}"""
"""Drops the words of all but the last assistant turn."""

THINKING = """
{%- for turn in messages %}
{%- set said = turn.content %}
{%- if turn.role == 'assistant' %}
{%- set thought = '' %}
{%- if '</think>' in said %}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip() %}
{%- set said = said.split('</think>')[-1].strip() %}
{%- endif %}
{%- if loop.last %}{% set said = '<think>\\n' + thought + '\\n</think>\\n\\n' + said %}{% endif %}
{%- endif %}
{{- '<|start|>' + turn.role + '\\n' + said + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{% endif %}"""
"""As Qwen 3: thoughts of earlier turns are dropped, the last turn has one, though it be empty."""

BEGUN_THOUGHT = THINKING.replace(
    "{{- '<|start|>assistant\\n' }}", "{{- '<|start|>assistant\\n<think>\\n' }}"
)
"""As Qwen 3.5: the generation prompt begins the thought."""

UNTHINKING = """
{{- '<s>' }}
{%- for turn in messages %}
{%- if turn.role == 'user' %}{{- '<|user|>' + turn.content }}
{%- else %}{{- '<|assistant|>' + turn.content.split('</think>')[-1] + '</s>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|><think>\\n' }}{% endif %}"""
"""As the distilled DeepSeek R1: the prompt begins a thought, and the turns are written without."""

ENDED_ONCE = """
{%- for turn in messages %}
{{- '<|' + turn.role + '|>\\n' + turn.content + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% else %}{{- eos_token }}{% endif %}"""
"""As Phi 3: another token ends the conversation where no answer is asked for."""

CHANNELS = """
{%- for turn in messages %}
{{- '<|start|>' + turn.role }}
{%- if turn.role == 'assistant' %}{{- '<|channel|>final' }}{% endif %}
{{- '<|message|>' + turn.content }}
{%- if loop.last and turn.role == 'assistant' %}{{- '<|return|>' }}
{%- else %}{{- '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{% endif %}"""
"""As gpt-oss: the model names a channel before it speaks, and the last turn ends otherwise."""

STRICT = """
{%- if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}
{%- for turn in messages %}
{%- if (turn.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('the user must begin') }}
{%- endif %}
{{- '<|start|>' + turn.role + '\\n' + turn.content | trim + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{% endif %}"""
"""As Gemma: no system turn, the user begins, and contents are stripped."""

SYSTEMLESS = CHATML.replace("messages %}", "messages if turn.role != 'system' %}")
"""As the first Phi 3: a system turn is left out in silence."""

ENDLESS = """
{%- for turn in messages %}
{{- {'user': 'Q: ', 'assistant': 'A: '}[turn.role] + turn.content + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'A:' }}{% endif %}"""
"""Nothing says that an answer is over."""

HEADED = """
{%- for turn in messages %}
{{- '<|' + turn.role + '|>' + turn.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %}"""
"""As GLM 4: a token begins each turn, and none ends it."""

COLON = """
{%- for turn in messages %}
{{- turn.role + ': ' + turn.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{% endif %}"""
"""A token may reach from the prompt into the answer."""
