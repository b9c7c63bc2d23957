"""The code that runs inside the sandbox: a supervisor, and the candidate's process below it.

The supervisor is process 1 of its own PID namespace. It forks one process for the candidate,
waits, kills whatever that process left behind, and reports how it ended and what it used
through a descriptor that the candidate's process does not have. The candidate's process
reports the results of calls, as data and nothing else, through a second descriptor.

This file is compiled outside and passed in, so it imports as little as it can (each module
costs every execution) and nothing of this package.

What is not promised: a `Script` test runs in the candidate's process, so a program that
inspects that process (frames, memory through ctypes) can find the nonce and forge a pass of
that kind, and one that returns always-equal objects passes its asserts, until those tests move
to a process of their own. The results of `Call` and `Dialogue` tests are compared outside and
cannot be forged from here: whatever is written there is only an answer, right or wrong.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # `signal` would load enum: 2 ms
import builtins
import os
import resource
import select
import sys
import time
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing would load re, functools and more: 5 ms of each execution
    from types import TracebackType
    from typing import Any

_DEPTH = 200


class NotDataError(Exception):
    """A result that is not made of plain data."""


def encode(value: object) -> str:
    """`value` as one line of JSON; whatever JSON lacks is a pair of a tag and its content.

    Tags: l list, t tuple, s set, z frozenset, d dict as pairs, b bytes in hex, i a big int in
    hex, f a float that JSON has no word for. Subclasses decay to their base type, by methods
    of the base type, so none of their own code has a say in what is compared.

    Raises:
        NotDataError: for any other type, and beyond a depth of 200.
    """
    parts: list[str] = []
    _encode(value, parts, 0)
    return "".join(parts)


def _encode(value: Any, parts: list[str], depth: int) -> None:
    kind = type(value)
    if depth > _DEPTH:
        raise NotDataError(f"a result nested deeper than {_DEPTH} levels")
    if value is None or value is True or value is False:
        parts.append("null" if value is None else "true" if value is True else "false")
    elif issubclass(kind, str):
        parts.append(encode_basestring_ascii(str.__str__(value)))
    elif issubclass(kind, int):
        number = int.__int__(value)
        parts.append(str(number) if -(2**63) < number < 2**63 else f'["i","{number:x}"]')
    elif issubclass(kind, float):
        text = float.__repr__(float.__float__(value))
        parts.append(f'["f","{text}"]' if "n" in text else text)
    elif issubclass(kind, (bytes, bytearray)):
        hexadecimal = bytes.hex if issubclass(kind, bytes) else bytearray.hex
        parts.append(f'["b","{hexadecimal(value)}"]')
    elif issubclass(kind, dict):
        _encode_items('["d",[', [list(pair) for pair in dict.items(value)], parts, depth)
    else:
        for base, tag in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z")):
            if issubclass(kind, base):
                _encode_items(f'["{tag}",[', base.__iter__(value), parts, depth)
                return
        raise NotDataError(f"a result of type {type.__dict__['__name__'].__get__(kind)}")


def _encode_items(opening: str, items: Any, parts: list[str], depth: int) -> None:
    parts.append(opening)
    is_dict = opening.startswith('["d"')
    for number, item in enumerate(items):
        if number:
            parts.append(",")
        if is_dict:
            parts.append("[")
            _encode(item[0], parts, depth + 1)
            parts.append(",")
            _encode(item[1], parts, depth + 1)
            parts.append("]")
        else:
            _encode(item, parts, depth + 1)
    parts.append("]]")


def main(request: dict[str, Any]) -> None:
    """Run the candidate's process to its end, or until the control pipe closes, and report.

    The report is the wait status, then CPU and wall seconds.
    """
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(request["report"])
        os.close(request["control"])
        _candidate(request)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.close(request["results"])
    events = select.poll()
    events.register(os.pidfd_open(child), select.POLLIN)
    events.register(request["control"], select.POLLIN)
    events.poll()
    wall = time.monotonic() - started
    status = _end_everything(child)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    os.write(request["report"], f"{status} {cpu:.6f} {wall:.6f}\n".encode())
    os._exit(0)


def _end_everything(child: int) -> int:
    """Kill and reap every process but this one; the wait status of `child`."""
    status = 0
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            reaped, how = os.waitpid(-1, 0)
            if reaped == child:
                status = how
    except (ProcessLookupError, ChildProcessError):
        return status


def _candidate(request: dict[str, Any]) -> None:
    _limit(request["limits"])
    send = _sender(request["results"])
    send('["ready"]')
    if request["tests"] is None:
        _dialogue(request, send)
    try:
        _function_tests(request, send)
    except MemoryError:
        send('["raised","memory","MemoryError"]')
    except NotDataError as refused:
        send(f'["raised","error",{encode(f"returned {refused.args[0]}, which is not data")}]')
    except BaseException as raised:
        send(f'["raised","error",{encode(_describe(raised, request))}]')
    finally:
        os._exit(0)


def _limit(limits: dict[str, int]) -> None:
    cpu = limits["cpu"]
    for name, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, limits["file"], limits["file"]),
        (resource.RLIMIT_NPROC, limits["processes"], limits["processes"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
    ):
        resource.setrlimit(name, (soft, hard))


def _sender(results: int) -> Any:
    def send(line: str) -> None:
        rest = line.encode("ascii") + b"\n"
        while rest:
            rest = rest[os.write(results, rest) :]

    return send


def _load(request: dict[str, Any], name: str) -> dict[str, Any]:
    """Run preamble, program and set-up; the namespace they leave."""
    module = type(sys)(name)
    sys.modules[name] = module
    sys.argv = ["program"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # answers use them; `-S` leaves them out
    names = module.__dict__
    for label in ("preamble", "program", "setup"):
        if request[label]:
            code = compile(request[label], f"<{label}>", "exec", dont_inherit=True)
            exec(code, names)
    return names


def _function_tests(request: dict[str, Any], send: Any) -> None:
    nonce = request["nonce"]
    # As under `exec(program, {})` in the published harnesses, a `__main__` block does not run.
    names = _load(request, "candidate")
    for number, test in enumerate(request["tests"]):
        if test[0] == "call":
            result = names[request["entry_point"]](*test[1], **test[2])
            send(f'["value",{number},{encode(result)}]')
        else:
            exec(compile(test[1], f"<test {number}>", "exec", dont_inherit=True), names)
            send(f'["passed",{number},"{nonce}"]')


def _dialogue(request: dict[str, Any], send: Any) -> None:
    """Run the program as a script, as `python program.py` would, and leave as it leaves."""
    try:
        _load(request, "__main__")
    except SystemExit:
        raise
    except MemoryError:
        send('["raised","memory","MemoryError"]')
    except BaseException as raised:
        send(f'["raised","error",{encode(_describe(raised, request))}]')
    sys.exit(0)


def _describe(raised: BaseException, request: dict[str, Any]) -> str:
    """Type, message and place of an exception, one line of bounded length."""
    name = type.__dict__["__name__"].__get__(type(raised))
    if isinstance(raised, KeyError) and raised.args == (request["entry_point"],):
        return f"NameError: the program defines no {request['entry_point']!r}"
    try:
        message = str(raised)[:200]
    except BaseException:
        message = "(its message cannot be shown)"
    place = _place(raised.__traceback__, request)
    if isinstance(raised, SyntaxError):
        message, place = f"{raised.msg}", f" (line {raised.lineno})"
    return f"{name}: {message}{place}" if message else f"{name}{place}"


def _place(trace: TracebackType | None, request: dict[str, Any]) -> str:
    place = ""
    while trace is not None:
        label = trace.tb_frame.f_code.co_filename
        if label == "<program>":
            place = f" (line {trace.tb_lineno})"
        elif label == "<setup>":
            place = f" (line {trace.tb_lineno} of the set-up)"
        elif label.startswith("<test ") and request["tests"]:
            source = request["tests"][int(label[6:-1])][1].split("\n")
            place = f" (test: {source[trace.tb_lineno - 1].strip()[:160]})"
        trace = trace.tb_next
    return place
