"""The candidate's side of a check: runs one program and answers the calls that the tests make.

This runs in the process of the hostile program, which may change everything here. Nothing is
lost by that: whatever it sends is an answer, right or wrong, and the judge compares. Neither the
tests nor what they expect is ever in this process, nor in the server that it was cloned from.

On `calls` come the preamble and the program, then the calls known ahead (both marshalled: they
come from the judge, and nothing is quicker), then one request a frame:
("call", what, args, kwargs), ("get", what, name), ("set", what, name, value), ("iterate", what),
("isinstance", what, value) or, for a call-back, ("result", value), ("raise", exception, message).

On `replies` go ("value", value, changed arguments), ("raised", exception, message, line),
("broken", ...) with the same where the program itself does not load, ("large",), and
("callback", which, args, kwargs).
"""

import builtins
import marshal
import os
import sys
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import Any, NoReturn

from eval_sandbox import codec, confine
from eval_sandbox.channel import LONGEST_ORDER, MAX_FRAME, ClosedError, Frames, send

MUTABLE = frozenset({"list", "dict", "set", "bytearray", "deque", "OrderedDict", "Counter"})
_MESSAGE = 200


class _Peer:
    """Both pipes, and the objects and functions that crossed as numbers."""

    def __init__(self, calls: int, replies: int) -> None:
        self.frames = Frames(calls, LONGEST_ORDER)
        self.replies = replies
        self.names: dict[str, Any] = {}
        self.objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def reply(self, *content: Any) -> None:
        try:
            payload = codec.encode(content, MAX_FRAME, self.export)
        except codec.TooLargeError:
            payload = codec.encode(("large",), MAX_FRAME)
        except codec.NotDataError as refused:
            said = ("raised", "TypeError", f"returned {refused.args[0]}", 0)
            payload = codec.encode(said, MAX_FRAME)
        send(self.replies, payload)

    def request(self) -> Any:
        return codec.decode(self.frames.next(), self.adopt)

    def export(self, value: Any) -> tuple[bytes, int]:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        is_match = type(value) is getattr(sys.modules.get("re"), "Match", None)
        return codec.TRUTHY if is_match else codec.HANDLE, number

    def adopt(self, tag: bytes, number: int) -> Any:
        return self._stub(number) if tag == codec.CALLBACK else self.objects[number]

    def _stub(self, number: int) -> Callable[..., Any]:
        def callback(*args: Any, **kwargs: Any) -> Any:
            self.reply("callback", number, args, kwargs)
            while True:
                kind, *content = request = self.request()
                if kind == "result":
                    return content[0]
                if kind == "raise":
                    raise codec.SHARED[content[0]](content[1])
                self.perform(request)  # the function of the test calls the program itself

        return callback

    def named(self, name: str) -> Any:
        """What the tests mean by a name: see `Problem.entry_point` for `C.m`."""
        kind, _, method = name.partition(".")
        if not method or kind not in self.names:
            return self.names[method or kind]
        return getattr(self.names[kind](), method)

    def missing(self, name: str) -> str:
        """The name that the program lacks, where it lacks what the tests call; else nothing."""
        kind, _, method = name.partition(".")
        return "" if kind in self.names or method in self.names else method or kind

    def perform(self, request: Any) -> None:
        """Answer one request."""
        try:
            self._perform(*request)
        except ClosedError:
            raise
        except BaseException as raised:
            _make_room(raised)
            kind, what = request[:2]
            missing = self.missing(what) if kind == "call" and isinstance(what, str) else ""
            self.reply("raised", *_in_words(raised, missing))

    def _perform(self, kind: str, what: Any, *rest: Any) -> None:
        target = self.named(what) if isinstance(what, str) else self.objects[what]
        if kind == "call":
            args, kwargs = rest
            changing = tuple(arg if _is_mutable(arg) else None for arg in args)
            before = self._snapshot(changing)
            value = target(*args, **kwargs)
            self.reply("value", value, changing if self._snapshot(changing) != before else None)
        elif kind == "get":
            self.reply("value", getattr(target, rest[0]), None)
        elif kind == "set":
            setattr(target, rest[0], rest[1])
            self.reply("value", None, None)
        elif kind == "isinstance":
            self.reply("value", isinstance(rest[0], target), None)
        elif kind == "iterate":
            self.reply("value", iter(list(target)), None)

    def _snapshot(self, args: tuple[Any, ...]) -> bytes | None:
        """The arguments that a call may change, as bytes: the test may look at them later."""
        if args.count(None) == len(args):
            return None
        return codec.encode(args, MAX_FRAME, lambda value: (codec.HANDLE, id(value) & 0xFFFFFFFF))


def _is_mutable(value: Any) -> bool:
    return codec.type_name(type(value)) in MUTABLE


def answer(calls: int, replies: int) -> NoReturn:
    """Run the program that arrives on `calls` and answer until nobody asks any more."""
    peer = _Peer(calls, replies)
    try:
        if _loads(peer) and _answer_ahead(peer):
            while True:
                peer.perform(peer.request())
        os._exit(0)
    except ClosedError:
        os._exit(0)
    finally:
        os._exit(1)


def _loads(peer: _Peer) -> bool:
    preamble, program = marshal.loads(peer.frames.next())
    peer.names = namespace("candidate")
    try:
        load(preamble, program, peer.names)
    except BaseException as raised:
        _make_room(raised)
        peer.reply("broken", *_in_words(raised))
        return False
    return True


def _answer_ahead(peer: _Peer) -> bool:
    """Answer the calls known ahead; whether there may be others."""
    known_ahead, complete, digested = marshal.loads(peer.frames.next())
    for number, (name, args, kwargs) in enumerate(known_ahead):
        try:
            if type(args) is CodeType:
                args = eval(args, {})
            value = peer.named(name)(*args, **kwargs)
            peer.reply("value", codec.digest(value) if number in digested else value, None)
        except BaseException as raised:
            _make_room(raised)
            peer.reply("raised", *_in_words(raised, peer.missing(name)))
            break
        if peer.objects:
            break  # a later call might change what the tests have not looked at yet
    return not complete or bool(peer.objects)


def settle() -> None:
    """What every program finds, once for all of them."""
    sys.argv = ["program"]
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # answers use them; `-S` leaves them out


def rehearse(program: str, name: str, argument: Any) -> None:
    """Answer one call of a program of our own, in this process.

    The interpreter specialises code by its first runs, in place. Done here, no clone does it
    again on a copy of its own.
    """
    ends = *os.pipe(), *os.pipe()
    peer = _Peer(ends[0], ends[3])
    send(ends[1], marshal.dumps(("", program)))
    send(ends[1], marshal.dumps(([(name, (argument,), {})] * 3, True, ())))
    if not _loads(peer) or _answer_ahead(peer):
        raise RuntimeError("the rehearsal failed")
    for end in ends:
        os.close(end)


def namespace(name: str) -> dict[str, Any]:
    """The names of a new module."""
    module = sys.modules[name] = type(sys)(name)
    return module.__dict__


def load(preamble: str, program: str, names: dict[str, Any]) -> None:
    """Run a program as a module with these names."""
    if preamble:
        exec(compile(preamble, "<preamble>", "exec", dont_inherit=True), names)
    exec(compile(program, "<program>", "exec", dont_inherit=True), names)


def _make_room(raised: BaseException) -> None:
    """Before anything else where memory is used up, which telling of it takes too."""
    if isinstance(raised, MemoryError):
        confine.allow_last_words()


def _in_words(raised: BaseException, missing: str = "") -> tuple[str, str, int]:
    """Name of the nearest builtin exception, a message of bounded length, the program's line."""
    kind = next(base for base in type(raised).__mro__ if base.__name__ in codec.SHARED)
    if missing and isinstance(raised, KeyError) and raised.args == (missing,):
        return "NameError", f"the program defines no {missing!r}", 0
    try:
        message = str(raised)[:_MESSAGE]
    except BaseException:
        message = "(its message cannot be shown)"
    if kind is not type(raised):
        message = f"{codec.type_name(type(raised))}: {message}"
    if isinstance(raised, SyntaxError):
        return kind.__name__, str(raised.msg)[:_MESSAGE], raised.lineno or 0
    return kind.__name__, message, _line(raised.__traceback__)


def _line(trace: TracebackType | None) -> int:
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def converse() -> NoReturn:
    """Run the program on descriptor 4 as `python program.py` would, on descriptors 0 to 2."""
    import atexit
    import threading

    preamble, program = marshal.loads(Frames(4, LONGEST_ORDER).next())
    os.close(4)
    streams = ((0, "r", "stdin"), (1, "w", "stdout"), (2, "w", "stderr"))
    for descriptor, mode, name in streams:
        setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="surrogateescape"))
    ours = sys.stdout
    names = namespace("__main__")
    status = _status_of(preamble, program, names)
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads as the interpreter does
    atexit._run_exitfuncs()
    status = _flushed(sys.stdout, status)
    _let_go(names)
    os._exit(_flushed(ours, status))


def _status_of(preamble: str, program: str, names: dict[str, Any]) -> int:
    try:
        load(preamble, program, names)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return (left.code or 0) & 0xFF
        return 1
    except BaseException as raised:
        _make_room(raised)
        kind, message, line = _in_words(raised)
        send(3, codec.encode((kind, message, line), MAX_FRAME))
        return 1
    return 0


def _let_go(names: dict[str, Any]) -> None:
    """Forget all that the program made, as the interpreter does: its own files are flushed so."""
    import gc

    gc.collect()  # as the interpreter does; a file in a cycle is then closed from its buffer down
    for name in names:
        if name != "__builtins__":
            names[name] = None
    gc.collect()


def _flushed(stream: Any, status: int) -> int:
    """The exit status after `stream` was flushed; the interpreter's where that fails."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return status or 120
    return status
