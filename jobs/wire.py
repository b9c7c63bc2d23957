"""OpenAI's wire format: what is asked, what is answered, and how an error reads."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from jobs.experiment import Asking

FINISH = {"end": "stop", "stop": "stop", "length": "length"}
"""Our words for OpenAI's; theirs does not tell an end token from a stop string."""
MOST_CHARACTERS = 32_000
MOST_TOKENS = 4_096

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class StreamOptions(BaseModel):
    """What else a stream says."""

    include_usage: bool = False


class Asked(BaseModel):
    """What every question says. Fields of OpenAI's that are not named here are let pass."""

    model: str
    max_tokens: int = Field(default=256, ge=1, le=MOST_TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    stop: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=16)]
        | None
    ) = None
    n: Literal[1] = 1
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @property
    def asking(self) -> Asking:
        """The same in the engine's words."""
        return Asking(
            temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_tokens
        )

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with a count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionAsked(Asked):
    """Body of POST /v1/completions."""

    prompt: Text


class Part(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class ChatAsked(Asked):
    """Body of POST /v1/chat/completions; only the user's last message is answered."""

    messages: list[Message] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _newer_name(cls, body: Any) -> Any:
        if isinstance(body, dict) and body.get("max_completion_tokens") is not None:
            return body | {"max_tokens": body["max_completion_tokens"]}
        return body

    @field_validator("messages")
    @classmethod
    def _asks(cls, messages: list[Message]) -> list[Message]:
        last = next((m.text for m in reversed(messages) if m.role == "user"), "")
        if not last:
            raise ValueError("no message of the user with text in it")
        if len(last) > MOST_CHARACTERS:
            raise ValueError(f"the user's last message is longer than {MOST_CHARACTERS} characters")
        return messages

    @property
    def instruction(self) -> str:
        """The user's last message."""
        return next(m.text for m in reversed(self.messages) if m.role == "user")


class PromptAsked(BaseModel):
    """Body of POST /v1/prompts."""

    instruction: Text
    input: str = Field(default="", max_length=MOST_CHARACTERS)
    signature: str = Field(default="", max_length=MOST_CHARACTERS)
    """Code that the answer begins with, such as `def add(a, b):`."""


class Form:
    """The two shapes of an answer, in one piece or as the chunks of a stream."""

    def __init__(self, model: str, chat: bool) -> None:
        """Begin an answer of a model, of a chat or of a plain completion."""
        self.chat = chat
        kind = "chat.completion" if chat else "text_completion"
        self.head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, text: str, finish: str, usage: Mapping[str, int]) -> dict[str, Any]:
        """The answer in one piece."""
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return self.head | {"choices": [_choice(said, finish)], "usage": usage}

    def chunk(self, text: str, finish: str | None, first: bool) -> str:
        """A part of the answer, as one event of a stream."""
        role = {"role": "assistant"} if first else {}
        said = {"delta": role | {"content": text}} if self.chat else {"text": text}
        return self._event([_choice(said, finish)], {})

    def usage(self, usage: Mapping[str, int]) -> str:
        """The event that counts tokens after the last part."""
        return self._event([], {"usage": usage})

    def _event(self, choices: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> str:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event({**self.head, "object": kind, "choices": choices, **more})


def event(content: Any) -> str:
    """One event of a stream."""
    return f"data: {json.dumps(content)}\n\n"


def usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    """Tokens read and written."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
    }


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> Any:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _choice(said: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    ended = FINISH[finish] if finish else None
    return {"index": 0, **said, "logprobs": None, "finish_reason": ended}
