"""The only place where text for a model is put together, in training and in asking alike."""

from dataclasses import dataclass

from eval_sandbox.problem import Problem

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


@dataclass(frozen=True, slots=True)
class Question:
    """A problem as a model is asked it."""

    task_id: str
    text: str
    whole: bool
    """True: the answer is a whole program. False: it continues the problem's prompt, whose code
    ends the text (the prefilled signature)."""


def alpaca(instruction: str, given: str = "") -> str:
    """The Alpaca prompt (Taori et al. 2023); an empty `given` leaves out the Input section."""
    template = ALPACA_WITH_INPUT if given else ALPACA
    return template.format(instruction=instruction, input=given)


def question(problem: Problem, prompt: str) -> Question:
    """Ask a problem in one of the forms a benchmark recipe may name.

    `alpaca`: instruction in, whole program out. `alpaca-signature`: the same with the problem's
    prompt (a signature, say) already in the response, and no newline after it, because a byte-pair
    tokenizer merges the newline with the indentation that follows. `completion`: the problem's
    prompt as published and nothing around it, for base models.
    """
    if prompt == "completion" and problem.prompt:
        return Question(problem.task_id, problem.prompt, whole=False)
    asked = alpaca(_instruction(problem))
    if prompt == "alpaca-signature" and problem.prompt:
        return Question(problem.task_id, asked + problem.prompt.rstrip("\n"), whole=False)
    return Question(problem.task_id, asked, whole=True)


def mbpp_instruction(text: str, tests: str) -> str:
    """MBPP's question with its visible tests, in the words of its paper (Austin et al. 2021)."""
    return f"{text}\nYour code should pass these tests:\n{tests}"


def _instruction(problem: Problem) -> str:
    visible = problem.extra.get("tests", "")
    return mbpp_instruction(problem.instruction, visible) if visible else problem.instruction
