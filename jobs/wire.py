"""OpenAI's wire format: what is asked, what is answered, and how an error reads."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from jobs.experiment import Asking

FINISH = {"end": "stop", "stop": "stop", "length": "length"}
"""Our words for OpenAI's; theirs does not tell an end token from a stop string."""
MOST_CHARACTERS = 32_000
MOST_TOKENS = 4_096
MOST_TURNS = 100
LARGEST = 2**63

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class StreamOptions(BaseModel):
    """What else a stream says."""

    include_usage: bool = False


def _only(*done: Any) -> AfterValidator:
    """A field of OpenAI's that would change an answer, and all that is done of it.

    Whoever asks for more is told so, rather than answered otherwise than was asked.
    """
    shown = " or ".join(json.dumps(value) for value in done)

    def check(value: Any) -> Any:
        if value not in done:
            raise ValueError(f"only {shown} is supported")
        return value

    return AfterValidator(check)


class Asked(BaseModel):
    """What every question says. Fields that are not named here are let pass."""

    model: str
    max_tokens: int = Field(default=256, ge=1, le=MOST_TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    stop: Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(default=None, ge=-LARGEST, lt=LARGEST)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[Any, _only(1)] = 1
    best_of: Annotated[Any, _only(1)] = 1
    echo: Annotated[Any, _only(False)] = False
    suffix: Annotated[Any, _only("")] = ""
    logprobs: Annotated[Any, _only(False)] = False
    top_logprobs: Annotated[Any, _only(0)] = 0
    logit_bias: Annotated[Any, _only({})] = {}
    presence_penalty: Annotated[Any, _only(0)] = 0
    frequency_penalty: Annotated[Any, _only(0)] = 0
    tools: Annotated[Any, _only([])] = []
    functions: Annotated[Any, _only([])] = []
    tool_choice: Annotated[Any, _only("none", "auto")] = "none"
    function_call: Annotated[Any, _only("none", "auto")] = "none"
    response_format: Annotated[Any, _only({"type": "text"})] = {"type": "text"}
    modalities: Annotated[Any, _only(["text"])] = ["text"]

    @model_validator(mode="before")
    @classmethod
    def _given(cls, body: Any) -> Any:
        """Without nulls, which mean the default."""
        if not isinstance(body, dict):
            return body
        given = {name: value for name, value in body.items() if value is not None}
        if "max_completion_tokens" in given:
            given["max_tokens"] = given["max_completion_tokens"]
        return given

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

    @field_validator("prompt", mode="before")
    @classmethod
    def _single(cls, prompt: Any) -> Any:
        if not isinstance(prompt, list):
            return prompt
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise ValueError("only one prompt, as text, is supported")
        return prompt[0]


class Part(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class ChatAsked(Asked):
    """Body of POST /v1/chat/completions; what stands behind the user's last message is left out."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_TURNS)
    signature: str = Field(default="", max_length=MOST_CHARACTERS)
    """Ours: code that the answer begins with, such as `def add(a, b):`."""

    @field_validator("messages")
    @classmethod
    def _asks(cls, messages: list[Message]) -> list[Message]:
        asked = [place for place, message in enumerate(messages) if message.role == "user"]
        if not asked or not messages[asked[-1]].text:
            raise ValueError("no message of the user with text in it")
        if sum(len(message.text) for message in messages) > MOST_CHARACTERS:
            raise ValueError(f"the messages are longer than {MOST_CHARACTERS} characters")
        return messages[: asked[-1] + 1]

    @property
    def instruction(self) -> str:
        """The user's last message."""
        return self.messages[-1].text

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """Role and words of each message, in the roles that chat templates know."""
        roles = {"developer": "system"}
        return tuple((roles.get(m.role, m.role), m.text) for m in self.messages)


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
