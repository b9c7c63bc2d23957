"""The files of evalplus: HumanEval+ and MBPP+, judged by their inputs.

What is right is what the reference returns for an input; the fields `test` and `assertion` of the
files are not used. JSON has no tuples, sets and complex numbers, so the arguments of some problems
of MBPP+ are not yet what their references take: `_ARGUMENTS` says what evalplus 0.3.1 makes of
them.
"""

import ast
from collections.abc import Callable
from typing import Any

from eval_sandbox.problem import Problem, Trials
from eval_sandbox.records import Fields

_HUMANEVAL_RULES = {"find_zero": "root"}
_MBPP_RULES = {
    "similar_elements": "set",
    "find_char_long": "set",
    "common_in_nested_lists": "set",
    "extract_singly": "set",
    "larg_nnum": "set",
    "intersection_array": "set",
    "find_dissimilar": "set",
    "Diff": "set",
    "check_str": "not-none",
    "text_match_three": "not-none",
    "text_starta_endb": "not-none",
    "are_equivalent": "anything",
    "sum_div": "or-zero",
    "digit_distance_nums": "digits",
    "surface_Area": "pyramid",
}

Convert = Callable[[list[Any]], list[Any]]
"""From the arguments of one call as the file has them to what the reference takes."""


def humanevalplus_problem(fields: Fields) -> Problem:
    """One problem of HumanEval+; what is wrong with it goes to the mistakes of `fields`."""
    prompt, entry_point = fields.text("prompt"), fields.identifier("entry_point")
    return Problem(
        task_id=fields.task_id(),
        instruction=prompt,
        prompt=prompt,
        entry_point=entry_point,
        tests=_tests(fields, _HUMANEVAL_RULES.get(entry_point, "equal"), list),
        reference=prompt + fields.text("canonical_solution"),
    )


def mbppplus_problem(fields: Fields) -> Problem:
    """One problem of MBPP+; what is wrong with it goes to the mistakes of `fields`.

    The file's prompt is no code to continue but the question, in a docstring with one assert.
    """
    prompt, entry_point = fields.text("prompt"), fields.identifier("entry_point")
    question, _, asserts = _docstring(prompt).partition("\nassert ")
    task_id = fields.task_id()
    number = task_id.rpartition("/")[2]
    convert = _ARGUMENTS.get(int(number) if number.isdecimal() else 0, list)
    return Problem(
        task_id=task_id,
        instruction=question.strip(),
        prompt="",
        entry_point=entry_point,
        tests=_tests(fields, _MBPP_RULES.get(entry_point, "equal"), convert),
        reference=prompt + fields.text("canonical_solution"),
        extra={"published": prompt} | ({"tests": f"assert {asserts.strip()}"} if asserts else {}),
    )


def _docstring(prompt: str) -> str:
    try:
        return ast.get_docstring(ast.parse(prompt), clean=False) or prompt
    except (SyntaxError, ValueError):
        return prompt


def _tests(fields: Fields, rule: str, convert: Convert) -> tuple[Trials, ...]:
    tolerance = fields.values.get("atol", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)):
        fields.wrong(f"field 'atol' is {tolerance!r}; a number is expected")
        tolerance = 0
    if fields.values.get("base_input") in ([], {}):
        fields.wrong("field 'base_input' has no inputs; at least one is expected")
    return tuple(
        Trials(
            name=name,
            inputs=_inputs(fields, f"{name}_input", convert),
            rule=rule,
            tolerance=float(tolerance),
        )
        for name in ("base", "plus")
    )


def _inputs(fields: Fields, field: str, convert: Convert) -> tuple[tuple[Any, ...], ...]:
    if fields.values.get(field) == {}:  # Mbpp/793 has no further inputs, and says so like this
        return ()
    inputs = []
    for number, args in enumerate(fields.items(field)):
        try:
            if not isinstance(args, list):
                raise TypeError("a list of arguments is expected")
            inputs.append(tuple(convert(args)))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            fields.wrong(f"{field}[{number}] is {str(args)[:60]}, no input of it: {error}")
    return tuple(inputs)


def _tuples(args: list[Any]) -> list[Any]:
    return [tuple(arg) for arg in args]


def _lists_of_tuples(args: list[Any]) -> list[Any]:
    return [[tuple(row) for row in arg] for arg in args]


def _tuples_of_tuples(args: list[Any]) -> list[Any]:
    return [tuple(tuple(row) for row in arg) for arg in args]


def _tuple_of_tuples_and_others(args: list[Any]) -> list[Any]:
    return [tuple(tuple(one) if isinstance(one, list) else one for one in args[0])]


def _tuples_all_the_way(args: list[Any]) -> list[Any]:
    def tupled(value: Any) -> Any:
        return tuple(map(tupled, value)) if isinstance(value, list) else value

    return [tupled(arg) for arg in args]


def _first_a_tuple(args: list[Any]) -> list[Any]:
    return [tuple(args[0]), *args[1:]]


def _second_a_tuple(args: list[Any]) -> list[Any]:
    return [args[0], tuple(args[1])]


def _first_a_list_of_tuples(args: list[Any]) -> list[Any]:
    return [[tuple(row) for row in args[0]], *args[1:]]


def _first_a_dict_of_tuples(args: list[Any]) -> list[Any]:
    return [{key: tuple(row) for key, row in args[0].items()}, *args[1:]]


def _sets(args: list[Any]) -> list[Any]:
    return [[set(one) if isinstance(one, list) and one else {} for one in args[0]]]


def _complex(args: list[Any]) -> list[Any]:
    return [complex(args[0])]


def _float_and_complex(args: list[Any]) -> list[Any]:
    return [float(args[0]), complex(args[1])]


_BY_ARGUMENTS: dict[Convert, tuple[int, ...]] = {
    _tuples: (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424),
        *(429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    _lists_of_tuples: (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    _tuples_of_tuples: (259, 401, 445),
    _tuple_of_tuples_and_others: (278,),
    _tuples_all_the_way: (580, 615, 791),
    _first_a_tuple: (250, 307, 405, 446, 617, 720, 763, 808),
    _second_a_tuple: (106, 750),
    _first_a_list_of_tuples: (75, 413, 444, 753),
    _first_a_dict_of_tuples: (722,),
    _sets: (115,),
    _complex: (252,),
    _float_and_complex: (124,),
}
_ARGUMENTS = {number: convert for convert, ids in _BY_ARGUMENTS.items() for number in ids}
