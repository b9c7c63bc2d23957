"""The process that runs the tests; in a sandbox of its own, away from every candidate.

For each check it makes the pipes, orders a candidate from the candidates' server, puts the tests
to it and says what became of it. A problem's tests are sent and prepared once. Tests that are a
user's own code run in a fork that lives for that check alone.
"""

import contextlib
import gc
import marshal
import math
import os
import resource
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from eval_sandbox import codec, confine, seccomp
from eval_sandbox.candidate_server import DEVICES, REPORT, Allowance, Reason, Report
from eval_sandbox.channel import LONGEST_ORDER, MAX_FRAME, ClosedError, Frames, TooLongError, send
from eval_sandbox.conversation import Conversation
from eval_sandbox.examine import PASSED, Prepared, examine, ready
from eval_sandbox.printed import mismatch
from eval_sandbox.verdict import Finding, Outcome

_OWN_SECONDS = 2
"""CPU time that a check may take here beyond what the candidate may."""


class CandidatesGoneError(Exception):
    """The candidates' server is gone: our failure."""


@dataclass(frozen=True, slots=True)
class Check:
    """One completion to judge."""

    preamble: str
    program: str
    allowance: Allowance
    single: tuple[float, float]
    """CPU and wall seconds of that which one dialogue may take."""

    def order(self) -> bytes:
        """What the candidate's process reads first."""
        return marshal.dumps((self.preamble, self.program))


class Judge:
    """Judges one completion after another."""

    def __init__(
        self,
        asked: socket.socket,
        candidates: socket.socket,
        isolated: bool,
        limits: tuple[int, int, int],
    ) -> None:
        self._asked, self._candidates = asked, candidates
        self._requests = Frames(asked.fileno(), LONGEST_ORDER)
        self._problems: dict[str, dict[str, Any]] = {}
        self._prepared: dict[str, Prepared] = {}
        self._clone = confine.cloner(confine.NEW_PID if isolated else 0)
        self._drop = confine.capability_dropper()
        self._filter = seccomp.build(os.uname().machine)
        self._limits = limits

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        while True:
            try:
                request = codec.decode(self._requests.next())
            except ClosedError:
                return
            send(self._asked.fileno(), codec.encode(self._answer(*request), MAX_FRAME))

    def _answer(
        self,
        digest: str,
        problem: dict[str, Any] | None,
        preamble: str,
        program: str,
        limits: Any,
        single: tuple[float, float],
    ) -> tuple[Any, ...]:
        """(outcome, detail, CPU seconds, wall seconds) of one check."""
        if problem is not None:
            self._problems[digest] = problem
        check = Check(preamble, program, Allowance(*limits), single)
        self._budget(check.allowance.cpu_seconds)
        try:
            finding, cpu, wall = self._judge(digest, check)
        except CandidatesGoneError as error:
            finding, cpu, wall = Finding(Outcome.SANDBOX_ERROR, str(error)), 0.0, 0.0
        return finding.outcome.value, finding.detail, cpu, wall

    def _budget(self, seconds: float) -> None:
        """A value that keeps the tests busy for ever ends this process: the kernel sees to it."""
        used = time.process_time()
        soft = int(used + seconds) + _OWN_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))

    def _judge(self, digest: str, check: Check) -> tuple[Finding, float, float]:
        """First the tests that share a process, then each dialogue by itself, on one budget."""
        problem = self._problems[digest]
        finding, reports = PASSED, []
        if any(test[0] != "dialogue" for test in problem["tests"]):
            prepared = self._prepared.get(digest) or ready(problem)
            if isinstance(prepared, Finding):
                return prepared, 0.0, 0.0
            self._prepared[digest] = prepared
            finding, report = self._conversation(prepared, problem["trusted"], check)
            reports.append(report)
        for kind, *given in problem["tests"]:
            if kind == "dialogue" and finding.outcome is Outcome.PASSED:
                left = left_of(check.allowance, reports, check.single)
                if left is None:
                    finding = Finding(Outcome.TIMED_OUT, "the tests together took too long")
                    break
                finding, report = self._dialogue(given, check, left)
                reports.append(report)
        cpu, wall = sum(r.cpu_seconds for r in reports), sum(r.wall_seconds for r in reports)
        return finding, cpu, wall

    def _conversation(
        self, prepared: Prepared, trusted: bool, check: Check
    ) -> tuple[Finding, Report]:
        calls, to_candidate = os.pipe()
        from_candidate, replies = os.pipe()
        output = os.memfd_create("output")
        with contextlib.ExitStack() as stack:
            for descriptor in (to_candidate, from_candidate, output):
                stack.callback(os.close, descriptor)
            try:
                self._start_candidate(check.allowance, [calls, replies, output])
            finally:
                os.close(calls)
                os.close(replies)
            ends = (to_candidate, from_candidate)
            if trusted:
                conversation = Conversation(*ends, self._candidates.fileno())
                finding = examine(prepared, conversation, check.order())
            else:
                finding = self._apart(prepared, ends, check)
            report = self._report(output)
        return concluded(finding, report, check.allowance), report

    def _start_candidate(self, allowance: Allowance, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._candidates, [allowance.packed()], descriptors)
        except OSError as error:
            raise CandidatesGoneError(f"the candidates' server is gone ({error})") from error

    def _report(self, output: int) -> Report:
        """End the candidate if it has not ended, and hear how it did."""
        with contextlib.suppress(OSError):
            poll = select.poll()
            poll.register(self._candidates, select.POLLIN)
            if not poll.poll(0):
                self._candidates.send(b"e")
        return self._awaited(output)

    def _apart(self, prepared: Prepared, ends: tuple[int, int], check: Check) -> Finding | None:
        """Put tests that are a user's own code, in a clone without anything of ours."""
        said, saying = os.pipe()
        pid, process = self._clone()
        if pid == 0:
            self._become_examiner(prepared, ends, check, saying)
        os.close(saying)
        try:
            return self._said(Frames(said), check.allowance.wall_seconds)
        finally:
            os.close(said)
            os.close(process)
            os.kill(pid, signal.SIGKILL)  # process 1 of its namespace: all that it started ends
            os.waitpid(pid, 0)

    def _said(self, frames: Frames, seconds: float) -> Finding | None:
        """What a clone says that puts a user's own tests; they decide, so they may say anything.

        As long as the candidate lives they may wait for it, which is bounded, and longer on a busy
        host. From then on they have `seconds`.
        """
        either = select.poll()
        either.register(frames.descriptor, select.POLLIN)
        either.register(self._candidates, select.POLLIN)
        either.poll()
        deadline = time.monotonic() + seconds
        try:
            while (frame := frames.arrived()) is None:
                if frames.ended:
                    return Finding(Outcome.FAILED, "the tests ended before they were done")
                if not frames.wait(deadline - time.monotonic()):
                    return Finding(Outcome.TIMED_OUT, f"the tests took more than {seconds:.0f} s")
                frames.read()
            said = codec.decode(frame)
            return None if said is None else Finding(Outcome(said[0]), str(said[1]))
        except (TooLongError, codec.MalformedError, ValueError, TypeError, IndexError, KeyError):
            return Finding(Outcome.FAILED, "the tests wrote to our descriptor")

    def _become_examiner(
        self, prepared: Prepared, ends: tuple[int, int], check: Check, saying: int
    ) -> NoReturn:
        try:
            confine.keep_only((None, None, None, *ends, saying))
            os.setsid()
            memory, processes, file_bytes = self._limits
            seconds = max(1, math.ceil(check.allowance.cpu_seconds))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            confine.limit(2 * memory, processes + 4, file_bytes)  # the judge counts, too
            self._drop()
            seccomp.install(self._filter)
            finding = examine(prepared, Conversation(3, 4, None), check.order())
            said = None if finding is None else (finding.outcome.value, finding.detail)
            send(5, codec.encode(said, MAX_FRAME))
        finally:
            os._exit(0)

    def _dialogue(self, given: list[str], check: Check, left: Allowance) -> tuple[Finding, Report]:
        stdin, stdout, compare = given
        calls, to_candidate = os.pipe()
        from_candidate, replies = os.pipe()
        asked, printed, errors = (os.memfd_create(name) for name in ("in", "out", "err"))
        with contextlib.ExitStack() as stack:
            for descriptor in (to_candidate, from_candidate, asked, printed, errors):
                stack.callback(os.close, descriptor)
            with open(asked, "wb", closefd=False) as file:
                file.write(stdin.encode("utf-8", "surrogatepass"))
            os.lseek(asked, 0, os.SEEK_SET)
            try:
                self._start_candidate(left, [calls, replies, printed, asked, errors])
            finally:
                os.close(calls)
                os.close(replies)
            with contextlib.suppress(ClosedError):
                send(to_candidate, check.order())
            report = self._awaited(errors)
            finding = concluded(None, report, left) if report.status or report.reason else None
            if finding is None or finding.outcome is Outcome.FAILED:
                finding = _heard(from_candidate, report) or _compared(
                    printed, stdout, compare, left
                )
            return finding, report

    def _awaited(self, output: int) -> Report:
        message = self._candidates.recv(REPORT.size)
        if len(message) != REPORT.size:
            raise CandidatesGoneError("the candidates' server is gone")
        report = Report.read(message)
        if report.reason is Reason.NOT_STARTED:
            why = os.pread(output, 300, 0).decode(errors="replace")
            raise CandidatesGoneError(f"the sandbox of the program could not be made: {why}")
        return report


def concluded(finding: Finding | None, report: Report, allowance: Allowance) -> Finding:
    """What the tests and the report on the candidate's end say together.

    A wrong answer stands, whatever came after it. A right one does not where the candidate went
    over its limits.
    """
    if finding is not None and finding.outcome is not Outcome.PASSED:
        return finding
    excess = _excess(report, allowance)
    if excess is not None:
        return excess
    if finding is not None:
        return finding
    code = os.waitstatus_to_exitcode(report.status)
    if report.reason is Reason.ASKED:
        return Finding(Outcome.FAILED, "took no more calls")
    if code == -signal.SIGKILL:
        return Finding(Outcome.SANDBOX_ERROR, "the program was killed from outside the sandbox")
    if code < 0:
        return Finding(Outcome.CRASHED, f"killed by {_signal_name(-code)}")
    return Finding(Outcome.FAILED, f"ended before its tests were done (exit status {code})")


def _excess(report: Report, allowance: Allowance) -> Finding | None:
    match report.reason:
        case Reason.WALL:
            detail = f"no end after {allowance.wall_seconds:.0f} s of wall time"
            return Finding(Outcome.TIMED_OUT, detail)
        case Reason.OUTPUT:
            limit = allowance.output_bytes >> 10
            return Finding(Outcome.OUTPUT_LIMIT, f"more than {limit} KiB of output")
        case Reason.MEMORY:
            limit = allowance.together >> 20
            return Finding(Outcome.OUT_OF_MEMORY, f"its processes took more than {limit} MiB")
    if report.reason is Reason.CPU or report.cpu_seconds >= allowance.cpu_seconds:
        detail = f"no end after {allowance.cpu_seconds:.1f} s of CPU time"
        return Finding(Outcome.TIMED_OUT, detail)
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def left_of(
    allowance: Allowance,
    reports: list[Report],
    single: tuple[float, float] = (math.inf, math.inf),
) -> Allowance | None:
    """What the reports leave of a budget, for the next dialogue; None when that is nothing.

    Args:
        allowance: the budget of all.
        reports: of those before.
        single: CPU and wall seconds that one of them may take.
    """
    cpu = allowance.cpu_seconds - sum(report.cpu_seconds for report in reports)
    wall = allowance.wall_seconds
    wall -= sum(report.wall_seconds - report.withheld_seconds for report in reports)
    if cpu <= 0 or wall <= 0:
        return None
    cpu, wall = min(cpu, single[0]), min(wall, single[1])
    return allowance._replace(cpu_seconds=cpu, wall_seconds=wall, dialogue=True)


def _heard(replies: int, report: Report) -> Finding | None:
    """With what a program ended that did not end well."""
    frames = Frames(replies)
    frames.read_at_hand()
    code = os.waitstatus_to_exitcode(report.status)
    try:
        if (frame := frames.arrived()) is not None:
            return _in_words(codec.decode(frame))
    except (codec.MalformedError, TooLongError):
        return Finding(Outcome.FAILED, "wrote something to the descriptor of its replies")
    if code != 0:
        return Finding(Outcome.FAILED, f"exit status {code}")
    return None


def _compared(printed: int, expected: str, compare: str, allowance: Allowance) -> Finding:
    length = min(os.fstat(printed).st_size, allowance.output_bytes)
    text = os.pread(printed, length, 0).decode(errors="replace")
    detail = mismatch(compare, text, expected)
    return Finding(Outcome.FAILED, detail) if detail else PASSED


def _in_words(said: Any) -> Finding:
    match said:
        case (str(kind), str(message), int(line)) if 0 <= line < 1 << 31:
            place = f" (line {line})" if line else ""
            outcome = Outcome.OUT_OF_MEMORY if kind == "MemoryError" else Outcome.FAILED
            return Finding(outcome, f"{kind}: {message[:300]}{place}")
    raise codec.MalformedError("neither an exception nor its place")


def main(asked: int, candidates: int, isolated: bool, limits: tuple[int, int, int]) -> None:
    """Judge what comes on the socket `asked`, with candidates from the socket `candidates`."""
    asked, candidates = confine.gather(asked, candidates)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    # What the tests decode and expect is larger than what a program holds.
    confine.limit_memory(2 * limits[0])
    if isolated:
        for path in DEVICES:
            confine.make_read_only(path)
    judge = Judge(socket.socket(fileno=asked), socket.socket(fileno=candidates), isolated, limits)
    gc.freeze()
    judge.serve()
