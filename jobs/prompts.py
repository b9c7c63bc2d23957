"""The only place where text for a model is put together, in training and in asking alike.

`text_of` makes what is trained on, in one of three forms; `question` what is asked, under a prompt
contract (`jobs/prompt_contracts.py`). The contracts `alpaca`, `chat` and `completion`, with the
signature or without it, ask what a training text of the same content in the form `alpaca`, `chat`
or `plain` begins with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from eval_sandbox.problem import Problem
from jobs.declared import UserError
from jobs.prompt_contracts import Prompt, words_of

if TYPE_CHECKING:
    from jobs.data.row import Row

PromptForm = Literal["alpaca", "chat", "plain"]
"""How rows are put to a model that learns: see `text_of`."""
TooLong = Literal["drop", "cut", "split"]
"""What becomes of a row of more tokens than a training takes.

`drop`: it is left out. `cut`: the end of its response is cut off, and no end-of-text token follows,
since the text did not end there; a row whose prompt alone is too long is left out. `split`: plain
code becomes rows of consecutive tokens, each but the first beginning with the last token of the one
before, so that every token is learnt once; a row with a prompt is left out. All are counted.
"""

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
"""Letter for letter `templates/alpaca.json` of github.com/tloen/alpaca-lora. Its one difference
from `PROMPT_DICT` in `train.py` of github.com/tatsu-lab/stanford_alpaca is the last line break."""
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
TODAY = "26 Jul 2024"
"""What a chat template that asks for the date is told: the one that Llama 3's falls back to.
The same row and the same problem give the same text on every day."""
_CALENDAR = "{% macro strftime_now(format) %}" + TODAY + "{% endmacro %}{{ '' }}"
_ASKED, _ANSWERED = "4c6f7665", "57686174"
"""Words that no template has in it, to find out what it puts around a message."""


class PromptError(UserError):
    """A tokenizer cannot put text in the form `chat`.

    It has no chat template, or one that fails on a question and its answer, leaves one of them out,
    or words the question otherwise once it is answered.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """What is trained on."""

    prompt: str
    """Carries no loss; empty for plain code."""
    response: str
    closing: str = ""
    """What a chat template says after a response: learnt, so that a model ends its turn."""
    templated: bool = False
    """True: special tokens stand in the prompt as text, so none may be added to it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A problem as a model is asked it."""

    task_id: str
    text: str
    whole: bool
    """True: the answer is a whole program. False: it continues the problem's prompt, whose code
    ends the text (the prefilled signature)."""
    templated: bool = False
    """True: special tokens stand in the text, so none may be added to it."""
    stop: str = ""
    """One more string that an answer ends before: what a chat template closes an answer with,
    where that is ordinary text. Where it is a special token, see `end_of_turn`."""


def alpaca(instruction: str, given: str = "") -> str:
    """The Alpaca prompt (Taori et al. 2023); an empty `given` leaves out the Input section."""
    template = ALPACA_WITH_INPUT if given else ALPACA
    return template.format(instruction=instruction, input=given)


def text_of(row: "Row", form: PromptForm, tokenizer: Any = None) -> Text:
    """A row in the form that it is trained on.

    `alpaca`: instruction and input in the Alpaca prompt. `chat`: both as the user's turn, in the
    chat template of the tokenizer. `plain`: the response as raw text and nothing before it, so that
    a base model goes on learning to write code; an instruction is ignored, not made a comment. A
    row of neither instruction nor input is plain code in every form. A response that ends with the
    text of the end-of-text token, as some published rows do, is not ended twice.

    Args:
        row: instruction, input and response.
        form: see above.
        tokenizer: of the model; only `chat` cannot do without.

    Raises:
        PromptError: the form is a chat, and this tokenizer has none.
    """
    end = getattr(tokenizer, "eos_token", None) or ""
    response = row.response.removesuffix(end)
    if form == "plain" or not (row.instruction or row.input):
        return Text("", response)
    return _text(row.instruction, row.input, response, form, tokenizer)


def question(problem: Problem, prompt: Prompt, tokenizer: Any = None) -> Question:
    """Ask a problem under a prompt contract.

    Args:
        problem: what is asked.
        prompt: the contract, with its worked examples.
        tokenizer: of the model that is asked, see `tokenizer_for`; only chats cannot do without.

    Raises:
        PromptError: the contract is a chat, and this tokenizer has none.
    """
    contract = prompt.contract
    begun = _filled(contract.answer, problem)
    said = said_to(prompt, problem)
    chat = _chat(tokenizer) if contract.chat else None
    if chat is not None:
        # White space that the template puts before an answer may merge with its first word.
        said = chat.prompt([("user", said)]) + (chat.lead if begun else "")
    return Question(
        problem.task_id,
        said + begun,
        whole=not (contract.continues and problem.prompt),
        templated=contract.chat,
        stop=chat.closing if chat is not None and chat.end is None else "",
    )


def chat_question(
    tokenizer: Any, task_id: str, turns: Sequence[tuple[str, str]], begun: str = ""
) -> Question:
    """A conversation in the chat template of the model that is asked.

    A single turn of the user is asked as the contract `chat` asks it.

    Args:
        tokenizer: of the model.
        task_id: what the question is called.
        turns: role and words of each; the last is the user's.
        begun: how the answer begins: said for the model, and no part of what it answers.

    Raises:
        PromptError: the tokenizer has no chat template, or it refuses such turns.
    """
    chat = _chat(tokenizer)
    said = chat.prompt(turns) + (chat.lead + begun if begun else "")
    stop = chat.closing if chat.end is None else ""
    return Question(task_id, said, whole=not begun, templated=True, stop=stop)


def said_to(prompt: Prompt, problem: Problem) -> str:
    """All that a contract says before an answer, the examples first; no chat template around it."""
    contract = prompt.contract
    closing = contract.shots.closing if contract.shots else ""
    shown = [
        _filled(contract.text_for(example) + contract.answer, example) + example.reference + closing
        for example in prompt.examples
    ]
    return "".join(shown) + _filled(contract.text_for(problem), problem)


def every_stop(stop: Sequence[str], questions: Iterable[Question]) -> tuple[str, ...]:
    """Stop strings of a benchmark, and those that its questions name, each once."""
    named = dict.fromkeys(question.stop for question in questions if question.stop)
    return (*stop, *named)


def tokenizer_for(prompt: Prompt, location: str, revision: str | None) -> Any:
    """The tokenizer that a prompt contract needs, or None where it needs none.

    It is the base's for a base and for all that is tuned from it, so that both are asked the same.

    Args:
        prompt: how the model is asked.
        location: a folder, or a repository on the hub.
        revision: a commit of that repository; None for a folder.

    Raises:
        PromptError: the contract is a chat, and this tokenizer has none.
    """
    return chat_tokenizer(location, revision) if prompt.contract.chat else None


def chat_tokenizer(location: str, revision: str | None) -> Any:
    """A model's tokenizer, whose chat template is known to serve.

    Raises:
        PromptError: it has none, or one that does not.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        location, revision=revision or None, trust_remote_code=False
    )
    _chat(tokenizer)
    return tokenizer


def end_of_turn(tokenizer: Any) -> int | None:
    """The special token that a tokenizer's chat template closes an answer with.

    None where there is no usable template, or where it closes with ordinary text.
    """
    if tokenizer.chat_template is None:
        return None
    try:
        return _chat(tokenizer).end
    except PromptError:
        return None


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Text and number of the tokens that are no text: ends, starts, roles."""
    added = tokenizer.added_tokens_decoder.items()
    return {token.content: number for number, token in added if token.special}


def _filled(template: str, problem: Problem) -> str:
    return template.format(**words_of(problem))


def _text(instruction: str, given: str, response: str, form: PromptForm, tokenizer: Any) -> Text:
    if form != "chat":
        return Text(alpaca(instruction, given), response)
    chat = _chat(tokenizer)
    # Both in one turn, as data/README.md of github.com/hiyouga/LLaMA-Factory joins them.
    said = f"{instruction}\n{given}" if instruction and given else instruction or given
    return Text(chat.prompt([("user", said)]), chat.lead + response, chat.closing, templated=True)


@dataclass(frozen=True, slots=True)
class _Chat:
    """What a chat template puts around an answer."""

    tokenizer: Any
    template: str
    taken: str
    """End of its generation prompt that an answered question does not have: the opened thoughts of
    DeepSeek-R1, say."""
    opening: str
    """What stands between its generation prompt and an answer: the empty thoughts of Qwen3, say.
    Part of the prompt, so a thinking model is asked to answer at once."""
    lead: str
    """White space in that place, which a tokenizer may merge with the answer's first word."""
    closing: str
    end: int | None
    """The special token that the closing begins with."""

    def prompt(self, turns: Sequence[tuple[str, str]]) -> str:
        """All that stands before an answer to turns of a role and its words, the user's last."""
        messages = [{"role": role, "content": said} for role, said in turns]
        asked = _render(self.tokenizer, self.template, messages)
        return asked.removesuffix(self.taken) + self.opening


def _chat(tokenizer: Any) -> _Chat:
    assert tokenizer is not None, "the form `chat` needs the model's tokenizer"
    name = tokenizer.name_or_path or "this model"
    if tokenizer.chat_template is None:
        raise PromptError(
            f"{name}: its tokenizer has no chat template, so it has no prompt form `chat`. Use "
            "`alpaca` for a base model, or name its instruct version"
        )
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise PromptError(f"{name}: its tokenizer has no default chat template: {error}") from None
    return _framed(tokenizer, name, template)


@lru_cache(maxsize=8)
def _framed(tokenizer: Any, name: str, template: str) -> _Chat:
    if "strftime_now" in template:
        template = _CALENDAR + template
    turns = [{"role": "user", "content": _ASKED}]
    asked = _render(tokenizer, template, turns)
    answer = {"role": "assistant", "content": _ANSWERED}
    before, answered, closing = _render(tokenizer, template, [*turns, answer]).partition(_ANSWERED)
    shared = _shared(asked, before)
    if not answered or _ASKED not in shared:
        raise PromptError(
            f"{name}: its chat template words a question otherwise once it is answered, so what is "
            "trained on would not be what is asked. Use the prompt form `alpaca`"
        )
    opening = before[len(shared) :]
    blank = opening.isspace()
    ends = {text: n for text, n in special_tokens(tokenizer).items() if closing.startswith(text)}
    return _Chat(
        tokenizer,
        template,
        taken=asked[len(shared) :],
        opening="" if blank else opening,
        lead=opening if blank else "",
        closing=closing.rstrip(),
        end=ends[max(ends, key=len)] if ends else None,
    )


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same)


def _render(tokenizer: Any, template: str, turns: list[dict[str, str]]) -> str:
    asks = turns[-1]["role"] == "user"
    try:
        text: str = tokenizer.apply_chat_template(
            turns, chat_template=template, add_generation_prompt=asks, tokenize=False
        )
    except Exception as error:  # a template is a program, and may fail as any other
        name = tokenizer.name_or_path or "this model"
        raise PromptError(f"{name}: its chat template fails: {error}") from None
    return text
