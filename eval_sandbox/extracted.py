"""Whether an answer had a program in it: what a verdict alone does not tell."""

from eval_sandbox.extraction import assemble, is_python
from eval_sandbox.problem import Completion, Problem


def holds_program(problem: Problem, completion: Completion, extract: str) -> bool | None:
    """Whether an extraction found a program in an answer.

    It did where it took some of the answer for code, or where the answer as a whole is Python. Else
    what is judged is text, and fails as such.

    Args:
        problem: what was asked.
        completion: the answer.
        extract: a name of `EXTRACTIONS`.

    Returns:
        None where the contract takes answers as they are.

    Raises:
        KeyError: there is no such extraction.
    """
    if extract == "none":
        return None
    program = assemble(problem, completion, extract)
    return program != assemble(problem, completion, "none") or is_python(program)
