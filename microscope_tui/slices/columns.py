"""Which column of a data set plays which part: as the slice maps them, else by their customary names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices.cells import is_list, is_media, is_text
from microscope_tui.slices.conversation import Conversation, conversation_of, is_conversation
from microscope_tui.terms import FILTER_COLUMNS, SliceSpec

MEDIA: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "images"),
    "video": ("video", "videos"),
    "audio": ("audio", "audios"),
}
"""Customary names of the columns: one picture, video or sound, or a list of them."""

QUESTION_COLUMNS = ("question", "conversations", "messages")
"""A text, or the turns of a conversation that begins with the question."""


@dataclass(frozen=True)
class Columns:
    """The columns of each part, empty for a part that the data lacks.

    A name may lead into a structure by dots: `choices.text`. `prompt` stands for the question of every row.
    `in_turns` says that the questions stand in conversations.
    """

    image: tuple[str, ...]
    video: tuple[str, ...]
    audio: tuple[str, ...]
    question: str
    choices: tuple[str, ...]
    answer: str
    hint: str
    prompt: str
    meta: tuple[str, ...]
    in_turns: bool

    @classmethod
    def of(cls, schema: pa.Schema, spec: SliceSpec, picture: str = "") -> Columns:
        """The columns by the slice's mapping, else by name. Raises `MicroscopeError` for a mapped one that is missing.

        `picture` is one more name that a column of pictures may have, in a format that has all media in files.
        """
        mapped = {role: _names(role, value, schema, spec) for role, value in spec.columns}

        def one(role: str) -> str:
            return mapped.get(role, (role if role in schema.names else "",))[0]

        asked = next((name for name in QUESTION_COLUMNS if name in schema.names), "")
        question = "" if spec.prompt else mapped.get("question", (asked,))[0]

        def media(role: str, *names: str) -> tuple[str, ...]:
            there = (name for name in (*names, *MEDIA[role]) if name in schema.names)
            # A column called video that holds texts is more often an address than a file.
            sure = (name for name in there if role == "image" or picture or is_media(_innermost(schema, name)))
            return mapped.get(role) or next(((name,) for name in sure), ())

        pictures = (picture,) if picture else ()
        found = cls(
            image=media("image", *pictures),
            video=media("video"),
            audio=media("audio"),
            question=question,
            choices=mapped.get("choices") or (("choices",) if "choices" in schema.names else ()),
            answer=one("answer"),
            hint=one("hint"),
            prompt=spec.prompt,
            meta=tuple(name for name in FILTER_COLUMNS if name in schema.names),
            in_turns=bool(question) and is_conversation(_kind(question, schema)),
        )
        if not found.media and not found.in_turns:
            raise MicroscopeError(
                f"The data set {spec.source} has no image column ({' or '.join((*pictures, *MEDIA['image']))}): its "
                f"columns are {', '.join(schema.names)}. Name the one that holds the pictures, like image=photo, "
                "or video= or audio=."
            )
        found._check(schema, spec)
        return found

    @property
    def media(self) -> tuple[str, ...]:
        return (*self.image, *self.video, *self.audio)

    def of_role(self, role: str) -> tuple[str, ...]:
        """The columns of `image`, `video` or `audio`."""
        names: tuple[str, ...] = getattr(self, role)
        return names

    def texts(self, schema: pa.Schema) -> list[str]:
        """The top-level columns to have at hand, in the schema's order: texts, and media that are only named."""
        paths = (*filter(None, (self.question, *self.choices, self.answer, self.hint)), *self.meta)
        wanted = {_top(path, schema) for path in paths}
        wanted |= {name for name in self.media if is_text(_innermost(schema, name))}
        return [name for name in schema.names if name in wanted]

    def values(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a row by their part: question, choices, answer, hint, and those of `FILTER_COLUMNS`."""
        values = {name: raw[name] for name in self.meta}
        if self.in_turns:
            turns = self.conversation(raw)
            values |= {"question": turns.question, "answer": turns.answer}
        else:
            values["question"] = self.prompt or _look(raw, self.question)
        if len(self.choices) == 1:
            values["choices"] = _look(raw, self.choices[0])
        elif self.choices:
            values["choices"] = _without_end([_look(raw, name) for name in self.choices])
        for part, name in (("answer", self.answer), ("hint", self.hint)):
            if name:
                values[part] = _look(raw, name)
        return values

    def conversation(self, raw: Mapping[str, Any]) -> Conversation:
        """The conversation of a row, where the questions stand in some."""
        return conversation_of(_look(raw, self.question))

    def _check(self, schema: pa.Schema, spec: SliceSpec) -> None:
        """Raises `MicroscopeError` unless each column holds what its part needs."""
        if not self.question and not self.prompt:
            raise MicroscopeError(
                f"The data set {spec.source} has no question column: its columns are {', '.join(schema.names)}. Name "
                "the one that holds the questions, like question=caption, or give one for all, like prompt=Describe "
                "the picture."
            )
        for role, what in (("image", "pictures"), ("video", "videos"), ("audio", "sound")):
            for name in self.of_role(role):
                if not (is_media(_innermost(schema, name)) or is_text(_innermost(schema, name))):
                    raise MicroscopeError(
                        f"The column {name} of the data set {spec.source} holds {schema.field(name).type} and no "
                        f"{what}: give a data set that stores them, or names their files."
                    )
        texts = {"" if self.in_turns else self.question: "text", self.hint: "text"}
        mapped = "choices" in dict(spec.columns)
        if len(self.choices) == 1:
            texts[self.choices[0]] = "a list of texts"
        for name, wanted in texts.items():
            if name and not _holds(_kind(name, schema), wanted, mapped):
                kind = _kind(name, schema)
                raise MicroscopeError(
                    f"The column {name} of the data set {spec.source} holds {kind}: it should hold {wanted}."
                )


def _names(role: str, value: str, schema: pa.Schema, spec: SliceSpec) -> tuple[str, ...]:
    """The columns that one option names: a column of that very name, else several joined by commas."""
    several = role in (*MEDIA, "choices") and _kind(value, schema) is None
    names = tuple(name.strip() for name in value.split(",") if name.strip()) if several else (value,)
    for name in names:
        if _kind(name, schema) is None or (role in MEDIA and name not in schema.names):
            raise MicroscopeError(
                f"The data set {spec.source} has no column {name} ({role}={value}): its columns are "
                f"{', '.join(schema.names)}."
            )
    return names


def _top(path: str, schema: pa.Schema) -> str:
    return path if path in schema.names else path.split(".")[0]


def _kind(path: str, schema: pa.Schema) -> pa.DataType | None:
    """The type of what a name leads to, None if it leads nowhere."""
    if path in schema.names:
        return schema.field(path).type
    top, *inner = path.split(".")
    if not inner or top not in schema.names:
        return None
    kind = schema.field(top).type
    for name in inner:
        index = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
        if index < 0:
            return None
        kind = kind.field(index).type
    return kind


def _look(raw: Mapping[str, Any], path: str) -> Any:
    if path in raw:
        return raw[path]
    value: Any = raw
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


def _holds(kind: pa.DataType, wanted: str, mapped: bool) -> bool:
    if pa.types.is_null(kind):
        return True
    if wanted == "text":
        return is_text(kind)
    # Some data sets write the list of choices as one text: "['a cat', 'a dog']". Only who names the column means it.
    return (is_list(kind) and not pa.types.is_nested(kind.value_type)) or (mapped and is_text(kind))


def _innermost(schema: pa.Schema, name: str) -> pa.DataType:
    """What a column's cells hold, or the lists in them."""
    kind = schema.field(name).type
    while is_list(kind):
        kind = kind.value_type
    return kind


def _without_end(choices: list[Any]) -> list[Any]:
    """Choices in columns of their own, less the columns at the end that this row leaves empty."""
    while choices and choices[-1] in (None, ""):
        choices.pop()
    return choices
