"""Programs that speak to the judge themselves: forged frames, objects that never answer.

`eval_sandbox.codec` says what the bytes mean, `eval_sandbox.candidate` which replies there are.
"""

from typing import Any

from eval_sandbox.attacks_common import (
    ASSERTS,
    CALLS,
    DIALOGUE,
    LOOP,
    SHORT,
    Attack,
    Form,
    in_forms,
    python,
)
from eval_sandbox.attacks_handles import HANDLE_ATTACKS, STRANGER_ATTACKS
from eval_sandbox.codec import encode
from eval_sandbox.problem import Call
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT
_OUTPUT_LIMIT, _OUT_OF_MEMORY = Outcome.OUTPUT_LIMIT, Outcome.OUT_OF_MEMORY
_HOSTILE = (_FAILED, _OUTPUT_LIMIT, _TIMED_OUT, _OUT_OF_MEMORY)
"""Any end but a pass, a crash of the judge, or a hang."""

_FORGE = """\
import os, struct, time
number = struct.Struct('<I').pack
def text(content): return b's' + number(len(content)) + content
def frame(payload): return number(len(payload)) + payload
def value(raw): return frame(b't' + number(3) + text(b'value') + raw + b'N')
def put(data):
    while data: data = data[os.write(3, data):]
def f(x):
    {}
    os._exit(0)
if __name__ == '__main__':
    f(1)
"""

_FORMS = (
    Form("calls", CALLS),
    Form("asserts in a loop", LOOP),
    Form("a stranger's asserts", ASSERTS, trusted=False),
    Form("a dialogue", DIALOGUE),
)


def _forge(*lines: str, outcomes: tuple[Outcome, ...] = _HOSTILE) -> Attack:
    """An attack that runs `lines` instead of answering."""
    return Attack(program=_FORGE.format("\n    ".join(lines)), outcomes=outcomes, limits=SHORT)


def _reply(*content: Any) -> Attack:
    """An attack whose reply is this, well encoded."""
    return _forge(f"put(frame({encode(content, 1 << 20)!r}))")


SMALL_FRAMES = {
    "sends something that is no frame": _forge("put(b'passed\\n' * 9)"),
    "sends an empty frame": _forge("put(frame(b''))"),
    "announces four gigabytes and leaves": _forge("put(b'\\xff' * 4)"),
    "leaves in the middle of a frame": _forge("put(number(1000) + b't')"),
    "leaves in the middle of a frame's length": _forge("put(b'\\1')"),
    **{
        f"nests what begins with {tag!r} twenty thousand deep": _forge(
            f"put(value({tag.encode()!r} * 20_000))"
        )
        for tag in "=gG123RMrYD"
    },
    "nests lists ten thousand deep": _forge("put(value((b'l' + number(1)) * 10_000 + b'N'))"),
    "nests dicts ten thousand deep": _forge("put(value((b'dN' + number(1)) * 10_000 + b'N'))"),
    "announces four billion items": _forge("put(value(b'l' + number(2**32 - 1)))"),
    "announces a text longer than its frame": _forge("put(value(b's' + number(10**6) + b'2'))"),
    "sends a key without a value": _forge("put(value(b'd' + number(1) + b'N'))"),
    "sends a list as a member of a set": _forge("put(value(b'S' + number(1) + b'l' + number(0)))"),
    "sends a type that is not known": _forge("put(value(b'?'))"),
    "sends a byte too many": _forge("put(frame(b'NN'))"),
    "sends text that is not UTF-8": _forge("put(value(text(b'\\xff\\xfe')))"),
    "sends a number that no Decimal is": _forge("put(value(b'M' + text(b'two')))"),
    "sends a fraction over zero": _forge("put(value(b'Rt' + number(2) + (b'i' + bytes(8)) * 2))"),
    "sends a date out of an iterator that breaks off": _forge(
        "put(value(b'DGl' + number(1) + b'N'))"
    ),
    "sends a date out of a quintillion numbers": _forge(
        "put(value(b'Dr' + struct.pack('<cqcqcq', b'i', 0, b'i', 10**18, b'i', 1)))"
    ),
    "sends a range without a step": _forge("put(value(b'r' + (b'i' + bytes(8)) * 3))"),
    "sends a builtin that is not shared": _forge("put(value(b'Y' + text(b'eval')))"),
    "sends an object that it never gave out": _forge("put(value(b'H' + number(2**32 - 1)))"),
    "sends back a call-back that no test gave it": _forge("put(value(b'K' + number(0)))"),
    "sends a verdict instead of a value": _reply("passed", None, None),
    "sends a value instead of a reply": _reply(2),
    "sends a reply of no known kind": _reply(["value"], 2, None),
    "sends a reply with too little in it": _reply("value", 2),
    "sends a reply with too much in it": _reply("value", 2, None, None),
    "sends the judge's own words": _reply("result", 2),
    "calls a call-back that there is not": _reply("callback", 999, (), {}),
    "calls a call-back by a name": _reply("callback", "__import__", ("os",), {}),
    "calls a call-back with arguments that are none": _reply("callback", 0, 2, None),
    "claims to have raised SystemExit": _reply("raised", "SystemExit", "0", 1),
    "claims to have raised what is no exception": _reply("raised", "type", "x", 1),
    "claims to have raised something on a line too long to print": _reply(
        "raised", "ValueError", "x", 1 << 99_999
    ),
    "claims not to load on a line too long to print": _reply(
        "broken", "ValueError", "x", 1 << 99_999
    ),
    "claims not to load for want of memory": _reply("broken", "MemoryError", "", 0),
    "claims to have printed a traceback on a line too long to print": _reply(
        "ValueError", "x", 1 << 99_999
    ),
    "claims an exception whose kind is a list of lists": _reply([[[1 << 99_999]]], [], 3),
    "claims that its answer was too large": _reply("large"),
    "writes back arguments that it was never given": _reply("value", 3, tuple([[2]] * 9)),
    "writes back arguments of other types": _reply("value", 3, (OSError, {1: {2: 3}}, [])),
    "sends the replies of all calls at once, all wrong": _forge("put(value(b'i' + bytes(8)) * 99)"),
}

LARGE_FRAMES = {
    "announces four gigabytes and waits": _forge("put(b'\\xff' * 4)", "time.sleep(60)"),
    "waits in the middle of a frame": _forge("put(number(1000) + b't')", "time.sleep(60)"),
    "sends a frame byte by byte": _forge(
        "for n in range(1000): put(frame(bytes(1000))[n:n + 1]); time.sleep(0.01)"
    ),
    "sends empty frames without end": _forge("while True: put(bytes(4096))"),
    "sends wrong replies without end": _forge("while True: put(value(b'N') * 99)"),
    "sends ten megabytes in one frame": _forge("put(frame(b's' + bytes(10_000_000)))"),
    "calls a call-back without end": _forge(
        "while True: put(frame(b't' + number(4) + text(b'callback') + b'i' + bytes(8)"
        " + b't' + number(0) + b'd' + number(0)))"
    ),
    "sends a set of colliding numbers": _forge(
        "many = [(n * (2**61 - 1)).to_bytes(12, 'little') for n in range(200_000)]",
        "many = b''.join(b'I' + number(12) + one for one in many)",
        "put(value(b'S' + number(200_000) + many))",
        "time.sleep(60)",
    ),
    "sends a dict of colliding keys": _forge(
        "many = [(n * (2**61 - 1)).to_bytes(12, 'little') for n in range(200_000)]",
        "many = b''.join(b'I' + number(12) + one + b'N' for one in many)",
        "put(value(b'd' + number(400_000) + many))",
        "time.sleep(60)",
    ),
    "sends a fraction of two huge numbers": _forge(
        "huge = [b'I' + number(3 << 20) + os.urandom((3 << 20) - 1) + b'\\1' for _ in 'ab']",
        "put(value(b'Rt' + number(2) + huge[0] + huge[1]))",
        "time.sleep(60)",
    ),
    "sends a million empty sets": _forge(
        "put(value(b'l' + number(1_600_000) + (b'S' + number(0)) * 1_600_000))"
    ),
}

PIPE_ATTACKS = {
    "sends its replies where its output goes": Attack(
        program="import os; os.dup2(1, 3)\ndef f(x): return x + 1"
    ),
    "turns its two pipes around": Attack(
        program="import os; os.dup2(3, 5); os.dup2(4, 3); os.dup2(5, 4)\ndef f(x): return x + 1",
        outcomes=(_FAILED, _TIMED_OUT, _CRASHED),
        limits=SHORT,
    ),
    "closes the pipe of its replies": Attack(
        program="import os; os.close(3)\ndef f(x): return x + 1"
    ),
    "puts a pipe of its own in the place of each": Attack(
        program=python("""
            import os
            for place in (3, 4):
                out, into = os.pipe()
                os.dup2(into if place == 3 else out, place)
            def f(x): return x + 1
        """),
        outcomes=(_FAILED, _TIMED_OUT),
        limits=SHORT,
    ),
    "answers each call from two processes": Attack(
        program="import os\ndef f(x): return x if os.fork() else x - 1",
        outcomes=(_FAILED, _CRASHED, _TIMED_OUT),
        limits=SHORT,
    ),
    "answers out of order from threads": Attack(
        program=python("""
            import os, struct, threading, time
            def later(x, seconds):
                time.sleep(seconds)
                reply = b't' + struct.pack('<I', 3) + b's' + struct.pack('<I', 5) + b'value'
                reply += b'i' + struct.pack('<q', x + 1) + b'N'
                os.write(3, struct.pack('<I', len(reply)) + reply)
            def f(x):
                for wrong in (41, 1):
                    thread = threading.Thread(target=later, args=(wrong, 0.01))
                    thread.start()
                    thread.join()
                os._exit(0)
        """)
    ),
    "gives a right answer in a frame and does not end": _forge(
        "put(value(b'i' + struct.pack('<q', 2)) + value(b'i' + struct.pack('<q', 42)))",
        "while True: pass",
        outcomes=(_TIMED_OUT, Outcome.PASSED),
    ),
    "floods its replies before it takes the calls": Attack(
        program="import os\nwhile True: os.write(3, bytes(65536))",
        tests=(Call(args=("x" * 300_000,), kwargs={}, expected=0),),
        outcomes=_HOSTILE,
        limits=SHORT,
    ),
    "takes no more calls": Attack(
        program="import os, time\nos.close(4)\ntime.sleep(60)",
        tests=(Call(args=("x" * 300_000,), kwargs={}, expected=0),),
        outcomes=_HOSTILE,
        limits=SHORT,
    ),
    "will not leave when all is said": Attack(
        program="import os, time\nos._exit = lambda status: time.sleep(60)\ndef f(x): return 0",
        limits=SHORT,
    ),
}

CODEC_ATTACKS = {
    **in_forms(_FORMS, SMALL_FRAMES),
    **LARGE_FRAMES,
    **PIPE_ATTACKS,
    **HANDLE_ATTACKS,
    **STRANGER_ATTACKS,
}
