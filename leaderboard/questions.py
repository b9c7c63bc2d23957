"""What models are asked: a question as it goes over the wire, and as code that asks it again."""

import json
import secrets
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

Form = Literal["instruction", "text", "chat"]
FORMS: dict[Form, str] = {
    "instruction": "Instruction",
    "text": "Text to continue",
    "chat": "Chat message",
}
SEEDS = 2**31
"""Below which seeds are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How answers are drawn."""

    temperature: float = 0.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int
    drawn: bool = False
    """Whether the seed was drawn, not chosen: asking again draws another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What every model is asked."""

    form: Form = "instruction"
    prompt: str
    """As the model reads it; of a chat, the message."""
    stop: tuple[str, ...] = ()
    settings: Settings
    instruction: str = ""
    """What a person wrote."""
    signature: str = ""
    opening: str = ""
    """The part of the prompt that the answers continue, shown before them."""

    @property
    def path(self) -> str:
        """Where it is asked."""
        return "/v1/chat/completions" if self.form == "chat" else "/v1/completions"

    def body(self, model: str) -> dict[str, Any]:
        """The request, but for the streaming."""
        if self.form == "chat":
            said: dict[str, Any] = {"messages": [{"role": "user", "content": self.prompt}]}
        else:
            said = {"prompt": self.prompt}
        drawn = {
            "max_tokens": self.settings.max_tokens,
            "temperature": self.settings.temperature,
            "top_p": self.settings.top_p,
            "seed": self.settings.seed,
        }
        stop = {"stop": list(self.stop)} if self.stop else {}
        return {"model": model, **said, **drawn, **stop}


def seed(chosen: int | None) -> int:
    """Return the seed that somebody chose, or a new one."""
    return secrets.randbelow(SEEDS) if chosen is None else chosen


def again(question: Question) -> Question:
    """Return the question with a new seed, where nobody chose its seed."""
    if not question.settings.drawn:
        return question
    return replace(question, settings=replace(question.settings, seed=seed(None)))


def in_words(settings: Settings) -> str:
    """Return how answers were drawn, in one line."""
    return (
        f"Temperature {settings.temperature:g}, top-p {settings.top_p:g}, at most "
        f"{settings.max_tokens} tokens, seed {settings.seed}"
    )


def opening_of(prompt: str, signature: str) -> str:
    """Return the prompt from its last mention of the signature on; empty without one."""
    at = prompt.rfind(signature.strip()) if signature.strip() else -1
    return prompt[at:] if at >= 0 else ""


def as_curl(question: Question, model: str, server: str) -> str:
    """Return shell code that asks one model the question; it holds no token."""
    body = json.dumps(question.body(model) | {"stream": True}, indent=2, ensure_ascii=False)
    return (
        f"curl -N {_address(server)}{question.path} \\\n"
        '  -H "Authorization: Bearer $CODELADDER_SERVE_TOKEN" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  --data-binary @- <<'JSON'\n{body}\nJSON\n"
    )


def as_python(question: Question, model: str, server: str) -> str:
    """Return a program for the `openai` package that asks one model the question."""
    chat = question.form == "chat"
    words = "".join(f"    {name}={value!r},\n" for name, value in question.body(model).items())
    said = "chunk.choices[0].delta.content or ''" if chat else "chunk.choices[0].text"
    return (
        "import os\n\n"
        "from openai import OpenAI\n\n"
        "client = OpenAI(\n"
        f'    base_url="{_address(server)}/v1",\n'
        '    api_key=os.environ.get("CODELADDER_SERVE_TOKEN", "none"),\n'
        ")\n"
        f"answer = client.{'chat.' if chat else ''}completions.create(\n"
        f"{words}    stream=True,\n)\n"
        f"for chunk in answer:\n    print({said}, end='', flush=True)\n"
    )


def _address(server: str) -> str:
    """The server's address without a name and password in it."""
    return str(httpx.URL(server).copy_with(userinfo=b"")).rstrip("/")
