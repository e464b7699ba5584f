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
        if twice := next((name for name in schema.names if schema.names.count(name) > 1), None):
            raise MicroscopeError(f"The data set {spec.source} has several columns {twice}: rename all but one.")
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
        texts = {"question": "" if self.in_turns else self.question, "hint": self.hint}
        if len(self.choices) == 1:
            texts["choices"] = self.choices[0]
        mapped = "choices" in dict(spec.columns)
        for role, name in texts.items():
            if name and not _holds(_kind(name, schema), role, mapped):
                raise MicroscopeError(f"The column {name} of the data set {spec.source} {_misfit(name, role, schema)}.")


def _names(role: str, value: str, schema: pa.Schema, spec: SliceSpec) -> tuple[str, ...]:
    """The columns that one option names: a column of that very name, else several joined by commas."""
    several = role in (*MEDIA, "choices") and _kind(value, schema) is None
    names = tuple(name.strip() for name in value.split(",") if name.strip()) if several else (value,)
    for name in names:
        if role in MEDIA and name not in schema.names and _kind(name, schema) is not None:
            raise MicroscopeError(
                f"{name} lies within a column of the data set {spec.source}, and pictures, videos and sounds are read "
                "from columns of their own: take it out of there."
            )
        if _kind(name, schema) is None:
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


def _holds(kind: pa.DataType, role: str, mapped: bool) -> bool:
    if pa.types.is_null(kind):
        return True
    if role != "choices":
        return is_text(kind)
    # Some data sets write the list of choices as one text: "['a cat', 'a dog']". Only who names the column means it.
    return (is_list(kind) and not pa.types.is_nested(kind.value_type)) or (mapped and is_text(kind))


def _misfit(name: str, role: str, schema: pa.Schema) -> str:
    """What a column holds that is not what its part needs, and where the right thing may be, if it is near."""
    kind: Any = _kind(name, schema)  # pyarrow is not typed
    wanted = "a list of texts" if role == "choices" else "text"
    inner = [field.name for field in kind if _holds(field.type, role, True)] if pa.types.is_struct(kind) else []
    if inner:
        return f"holds a structure: name the part of it that holds {wanted}, like {role}={name}.{inner[0]}"
    spelled = f"; if each spells out a list, say {role}={name}" if role == "choices" and is_text(kind) else ""
    return f"holds {kind}: it should hold {wanted}{spelled}"


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
