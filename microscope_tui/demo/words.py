"""The demo's vocabulary, tokenizer and chat template.

One token a word, lower-cased; a lone capital A–E stays one, so that the letter of a choice is not the article.
A choice's mark ("\\nA. ") is the letter's token, any other line break a token of its own. What is not in the
vocabulary becomes `<unk>`, so any text goes through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from microscope_tui.demo.families import FAMILIES
from microscope_tui.demo.questions import Question, question
from microscope_tui.terms import LETTERS

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
PAD, BOS, EOS, UNK, IMAGE = range(len(SPECIALS))
OPTIONS = LETTERS[:5]
BREAK = "⏎"
CONTEXT_LENGTH = 2048

SYSTEM = "This is a dialog with AI assistant.\n"
"""OmniFusion's published prompt; the LLaVA arms begin with it too, so that they differ in nothing but the fusion."""

CHAT_TEMPLATE = (
    "{{ '<s>" + SYSTEM.replace("\n", "\\n") + "USER: ' }}"
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\nASSISTANT:' }}{% endif %}"
)
"""Pictures first, then the words: the customary order, and that of LLaVA-NeXT's own template."""

_HOLD = {letter: chr(0xE000 + i) for i, letter in enumerate(OPTIONS)}  # private-use stand-ins survive lower-casing


@cache
def vocabulary() -> dict[str, int]:
    """Token to id: the special tokens, then every word that the questions, answers and templates use."""
    words = set(_pieces([SYSTEM, "USER: ASSISTANT: because"])) | set(OPTIONS)
    for family in FAMILIES:
        drawn = [question(family, seed) for seed in range(1000)]
        words.update(_pieces([text for q in drawn for text in (q.prompt(), q.solution)]))
    return {word: i for i, word in enumerate((*SPECIALS, *sorted(words)))}


@cache
def tokenizer() -> Tokenizer:
    """The bare tokenizer, for training."""
    tool = Tokenizer(models.WordLevel(vocabulary(), unk_token="<unk>"))
    tool.normalizer, tool.pre_tokenizer = _normalizer(), _pre_tokenizer()
    tool.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIALS])
    return tool


def hub_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer as transformers saves and loads it."""
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=tokenizer(),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": "<image>"},
    )


def ids(text: str) -> list[int]:
    encoded: list[int] = tokenizer().encode(text, add_special_tokens=False).ids
    return encoded


def answer_ids(q: Question) -> tuple[int, int, list[int]]:
    """The answer's word, its letter, and the reason that follows: `because …</s>`."""
    (word,), (letter,) = ids(q.word), ids(q.letter)
    return word, letter, [*ids(f"because {q.solution}"), EOS]


def choice_ids(choices: Sequence[str]) -> list[int]:
    """The first token of each choice's words; the generator's choices are single words."""
    return [ids(choice)[0] for choice in choices]


def _normalizer() -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    steps += [normalizers.Replace(f"\n{letter}. ", f" {held} ") for letter, held in _HOLD.items()]
    steps += [normalizers.Replace(Regex(rf"\b{letter}\b"), held) for letter, held in _HOLD.items()]
    steps += [normalizers.Replace("\n", f" {BREAK} "), normalizers.Lowercase()]
    steps += [normalizers.Replace(held, letter) for letter, held in _HOLD.items()]
    return normalizers.Sequence(steps)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    word_or_sign = Regex(r"\w+(?:['’]\w+)*|[^\w\s]")
    return pre_tokenizers.Split(word_or_sign, behavior="removed", invert=True)


def _pieces(texts: Iterable[str]) -> list[str]:
    cut, normal = _pre_tokenizer(), _normalizer()
    return [piece for text in texts for piece, _ in cut.pre_tokenize_str(normal.normalize_str(text))]
