"""The judge's side of a check: what the tests see instead of the candidate's functions.

A `Stand-in` is called like the function it stands for; its arguments and the result cross as
data. An object of the candidate's own class arrives as a `Handle`: get, set, call, iterate and
compare by identity, nothing else.

Whatever ends the conversation (the candidate is gone, wrote something that is no reply, sent too
much) is kept in `Conversation.over`, so that a test which swallows exceptions cannot make a pass
of it.
"""

import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import CodeType
from typing import Any, NoReturn

from eval_sandbox import codec
from eval_sandbox.channel import MAX_FRAME, ClosedError, Frames, TooLongError, send
from eval_sandbox.foresight import Call

_FIRST_PATIENCE_MS, _LONGEST_PATIENCE_MS = 4, 64
_MESSAGE, _MOST_LINES = 300, 1 << 31
MAX_REPLIES = 16 * MAX_FRAME
"""Bytes of all replies to one check: tests may keep every one of them."""
_MUTABLE = (list, dict, set, bytearray, deque)


class Over(Enum):
    """Why there is nothing more to ask."""

    GONE = "gone"
    """The process ended: its report says how."""
    BROKEN = "broken"
    """The program does not load."""
    MALFORMED = "malformed"
    TOO_LARGE = "too large"
    TOO_MUCH = "too much"
    """Each reply could be read, but not all of them."""
    MEMORY = "memory"
    """The program does not load for want of memory."""


class OverError(BaseException):
    """The conversation is over; not an Exception, so that tests seldom swallow it."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that came from the candidate, and the line of the program it came from."""

    exception: BaseException
    line: int

    def __str__(self) -> str:
        kind = type(self.exception).__name__
        message = str(self.exception.args[0]) if self.exception.args else ""
        place = f" (line {self.line})" if self.line else ""
        return f"{kind}: {message}{place}" if message else f"{kind}{place}"


class Conversation:
    """Asks one candidate, through `calls` and `replies`."""

    def __init__(self, calls: int, replies: int, ended: int | None) -> None:
        """Begin.

        Args:
            calls: pipe to write on.
            replies: pipe to read from.
            ended: becomes readable when the candidate's process has ended; None when that
                shows on `replies` alone.
        """
        self._calls = calls
        self._frames = Frames(replies)
        self._ended = ended
        self._known: Sequence[Call] = ()
        self._ahead: list[Any] = []
        self._all_ahead_came = False
        self._room = MAX_REPLIES
        self._functions: list[Callable[..., Any]] = []
        self._has_handles = False
        self.over: Over | None = None
        self.raised: Raised | None = None
        """The last exception that came from the candidate."""
        self.returned: Any = None
        """The last result."""

    def start(self, order: bytes, ahead: bytes, known: Sequence[Call]) -> None:
        """Send the program and the calls that are known ahead, each as a frame's content.

        Args:
            order: preamble and program.
            ahead: the calls.
            known: the same calls, as they were foreseen.
        """
        self._known = known
        self._send(order)
        self._send(ahead)

    def reply(self, number: int) -> Any:
        """The result of a call that was sent ahead, or its exception; once for each.

        A candidate answers what was sent ahead until it has raised something, or has given out
        an object of its own: later calls might change that, so from there on each waits until
        the tests come to it.
        """
        while len(self._ahead) <= number and not self._all_ahead_came:
            self._read_ahead(patient=True)
        reply = self._ahead[number] if number < len(self._ahead) else None
        if reply is not None:
            self._ahead[number] = None
            return self._result(reply, None)
        name, args, kwargs = self._known[number]
        return self.ask(
            "call", name, eval(args, {}) if isinstance(args, CodeType) else args, kwargs
        )

    def _read_ahead(self, patient: bool) -> None:
        reply = self._next(patient)
        self._ahead.append(reply)
        full = len(self._ahead) == len(self._known)
        self._all_ahead_came = full or reply[0] != "value" or self._has_handles

    def hear_from_it(self) -> None:
        """Make sure that the program loads, where no test has asked it anything.

        Raises:
            OverError: it does not, or ended.
        """
        nothing_came = self._room == MAX_REPLIES
        with suppress(Exception):  # whatever it answers
            if nothing_came and self._known:
                self.reply(0)
            elif nothing_came:
                self.ask("get", "", "")

    def forget(self) -> None:
        """Let go of everything that the candidate sent."""
        self._ahead.clear()
        self.returned = None

    def ask(self, *request: Any) -> Any:
        """The answer to one request; call-backs are answered meanwhile.

        Raises:
            OverError: there is none.
            BaseException: what the candidate raised, as the nearest builtin exception.
        """
        while len(self._ahead) < len(self._known) and not self._all_ahead_came:
            self._read_ahead(patient=False)
        try:
            self._send(codec.encode(request, MAX_FRAME, self._export))
        except codec.TooLargeError:
            raise ValueError("the arguments of this test are too large to send") from None
        while (reply := self._next(patient=False))[0] == "callback":
            self._send(self._called_back(*reply[1:]))
        return self._result(reply, request[2] if request[0] == "call" else None)

    def _next(self, patient: bool) -> Any:
        """The next reply, decoded."""
        if self.over:
            raise OverError
        try:
            frame = None
            if patient and self._ended is not None:
                frame = self._patiently(self._ended)
            frame = self._frames.next() if frame is None else frame
            self._room -= len(frame)
            if self._room < 0:
                return self._end(Over.TOO_MUCH)
            reply = codec.decode(frame, self._adopt)
            if type(reply) is not tuple or len(reply) != _LENGTHS.get(reply[0], -1):
                raise codec.MalformedError
            return reply
        except ClosedError:
            return self._end(Over.GONE)
        except TooLongError:
            return self._end(Over.TOO_LARGE)
        except (codec.MalformedError, TypeError, IndexError, RecursionError):
            return self._end(Over.MALFORMED)

    def _patiently(self, ended: int) -> bytes | None:
        """A frame, without waking up for every one: the candidate's end is worth waiting for.

        Its replies lie in the pipe meanwhile. A candidate that takes long is looked at more
        and more seldom, so that a wrong answer ends a check whose next call would hang.
        """
        patience = _FIRST_PATIENCE_MS
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while (frame := self._frames.arrived()) is None and not self._frames.ended:
            if patience and poll.poll(patience):
                patience = 0
            patience = min(2 * patience, _LONGEST_PATIENCE_MS)
            if patience:
                self._frames.read_at_hand()
            else:
                self._frames.read()
        return frame

    def _result(self, reply: Any, args: tuple[Any, ...] | None) -> Any:
        match reply:
            case ("value", value, changed):
                if args is not None and type(changed) is tuple:
                    for ours, theirs in zip(args, changed, strict=False):
                        write_back(ours, theirs)
                self.returned = value
                return value
            case ("raised", str(name), str(message), int(line)) if 0 <= line < _MOST_LINES:
                raise self._exception(name, message[:_MESSAGE], line)
            case ("broken", str(name), str(message), int(line)) if 0 <= line < _MOST_LINES:
                self.raised = Raised(_made(name, message), line)
                return self._end(Over.MEMORY if name == "MemoryError" else Over.BROKEN)
            case ("large",):
                return self._end(Over.TOO_LARGE)
        return self._end(Over.MALFORMED)

    def _exception(self, name: str, message: str, line: int) -> BaseException:
        exception = _made(name, message)
        if isinstance(exception, (StopIteration, StopAsyncIteration)):
            # It would end a loop of the test in silence.
            exception = RuntimeError(f"{name}: {message}")
        self.raised = Raised(exception, line)
        return exception if isinstance(exception, Exception) else OverError()

    def _called_back(self, number: Any, args: Any, kwargs: Any) -> bytes:
        try:
            value = self._functions[number](*args, **kwargs)
            return codec.encode(("result", value), MAX_FRAME, self._export)
        except Exception as raised:
            kind = next(base for base in type(raised).__mro__ if base.__name__ in codec.SHARED)
            return codec.encode(("raise", kind.__name__, str(raised)[:200]), MAX_FRAME)

    def _export(self, value: Any) -> tuple[bytes, int]:
        if isinstance(value, Handle):
            return codec.HANDLE, object.__getattribute__(value, "_number")
        if not callable(value):
            raise codec.NotDataError(f"a value of type {type(value).__name__}, which is not data")
        self._functions.append(value)
        return codec.CALLBACK, len(self._functions) - 1

    def _adopt(self, tag: bytes, number: int) -> Any:
        if tag == codec.CALLBACK:
            raise codec.MalformedError("only the tests have call-backs")
        self._has_handles = True
        return Match(self, number) if tag == codec.TRUTHY else Handle(self, number)

    def _send(self, payload: bytes) -> None:
        """Send; what a candidate said before it was gone, why perhaps, is read next."""
        with suppress(ClosedError):
            send(self._calls, payload)

    def _end(self, why: Over) -> NoReturn:
        self.over = self.over or why
        raise OverError


_LENGTHS = {"value": 3, "raised": 4, "broken": 4, "large": 1, "callback": 4}


def _made(name: str, message: str) -> BaseException:
    kind = codec.SHARED.get(name)
    if not isinstance(kind, type) or not issubclass(kind, BaseException):
        kind = Exception
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError and its like take more than a message
        return ValueError(message) if issubclass(kind, ValueError) else Exception(message)


def write_back(ours: Any, theirs: Any) -> None:
    """Change `ours` in place into `theirs`, keeping what is inside where that has a counterpart."""
    if not isinstance(ours, _MUTABLE) or type(theirs) is not type(ours):
        return
    if isinstance(ours, list) and len(ours) == len(theirs):
        for number, value in enumerate(theirs):
            if isinstance(ours[number], _MUTABLE) and type(ours[number]) is type(value):
                write_back(ours[number], value)
            else:
                ours[number] = value
    elif isinstance(ours, (list, bytearray)):
        ours[:] = theirs
    elif isinstance(ours, deque):
        ours.clear()
        ours.extend(theirs)
    else:
        ours.clear()
        ours.update(theirs)  # type: ignore[arg-type] # a set or a dict, as both are


def _require_ordinary(name: str) -> None:
    """Refuse the names by which libraries ask an object how to treat it.

    `__array_interface__`, for one, is an address that numpy would read in this process.
    """
    if name.startswith("__") and name not in ("__name__", "__doc__"):
        raise AttributeError(name)


class StandIn:
    """A name that the candidate defines, as the tests see it."""

    def __init__(self, conversation: Conversation, name: str) -> None:
        self._conversation, self._name = conversation, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it in the candidate's process."""
        return self._conversation.ask("call", self._name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        _require_ordinary(name)
        return self._conversation.ask("get", self._name, name)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, Handle) and bool(
            self._conversation.ask("isinstance", self._name, instance)
        )


class Handle:
    """An object of the candidate's own class; it stays where it is."""

    __slots__ = ("_conversation", "_number")

    def __init__(self, conversation: Conversation, number: int) -> None:
        object.__setattr__(self, "_conversation", conversation)
        object.__setattr__(self, "_number", number)

    def _ask(self, kind: str, *rest: Any) -> Any:
        conversation: Conversation = object.__getattribute__(self, "_conversation")
        return conversation.ask(kind, object.__getattribute__(self, "_number"), *rest)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it in the candidate's process."""
        return Handle._ask(self, "call", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        _require_ordinary(name)
        return Handle._ask(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        Handle._ask(self, "set", name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(Handle._ask(self, "iterate"))

    def __eq__(self, other: object) -> bool:
        number = object.__getattribute__(self, "_number")
        return isinstance(other, Handle) and object.__getattribute__(other, "_number") == number

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_number"))

    def __bool__(self) -> bool:
        raise TypeError("the truth of an object of the program's own class is not known here")

    def __repr__(self) -> str:
        return "an object of the program's own class"


class Match(Handle):
    """A `re.Match` of the candidate's: what a pattern found is true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True
