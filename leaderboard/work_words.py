"""Work that goes on, and how it ended, in words. Every function is pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from database.claims import ClaimFacts
from database.facts import RunFacts, TrainingFacts
from database.queries import ACTIVE
from database.work import DriverFacts, NodeFacts, StageFacts
from leaderboard.words import NONE, ago, count, plain, span

CAUSES = {
    "SandboxFailedError": "The sandbox failed, which says nothing of the model.",
    "GangError": "Workers were lost, or did not find together. The next attempt goes on from the "
    "last checkpoint.",
    "TrainingError": "Another attempt would not change this: mend the cause first.",
    "ProofError": "The training did not take, so nothing was asked.",
    "StoreError": "The store (CODELADDER_STORE) did not answer, or what it has is damaged.",
    "EngineError": "The model could not be asked.",
    "UserError": "Something that it needs is not as it should be.",
}
"""By the kind of what went wrong: what it means for who looks."""
OURS = "Something of ours failed, which says nothing of the model."
BY_HAND = "stopped by "
"""How the reason of a run begins that somebody stopped."""
JUST_NOW_SECONDS = 10.0
"""Nobody needs to see these counted."""
SERVED = {"waiting": "not loaded"}
"""The server's words for how a model is, where people would take them for others."""
STOPPING = {
    "waiting": "It leaves the queue.",
    "preparing": "Its data is prepared for others all the same.",
    "training": "Its workers end, and it goes on from its last checkpoint later.",
    "generating": "Its workers end; answers that are there are kept.",
    "judging": "Its workers end; what was not judged to the end of this benchmark is judged again.",
}
"""What stopping does, by the state of a run."""
OUTCOMES = {
    "passed": "passed",
    "failed": "wrong",
    "timed_out": "time limit",
    "out_of_memory": "memory limit",
    "crashed": "crashed",
    "output_limit": "output limit",
}
"""What models did, in the order of the table; `sandbox_error` is none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a run is over, without a result of its own."""

    heading: str
    meaning: str
    reason: str
    """As it was recorded: a stranger's text may be in it."""


def ending(state: str, message: str) -> Ending:
    """Return why a run failed or was stopped.

    Args:
        state: `failed` or `stopped`.
        message: of the event with that name.
    """
    if state == "stopped":
        by_hand = message.startswith(BY_HAND)
        meaning = (
            "It did not fail. The same command goes on with it."
            if by_hand
            else "Its sweep gave it up: others did better. It did not fail."
        )
        return Ending(heading="Stopped", meaning=meaning, reason=message)
    kind, colon, rest = message.partition(": ")
    if not colon or not kind.isidentifier():
        return Ending(heading="Failed", meaning=OURS, reason=message)
    return Ending(heading="Failed", meaning=CAUSES.get(kind, OURS), reason=rest)


def command(run: RunFacts) -> str | None:
    """Return the command that goes on with a run; None where nobody recorded it."""
    said = str(run.provenance.get("command") or "")
    if said.startswith("-m jobs run "):
        return f"python {said}"
    experiment = run.provenance.get("experiment")
    return f"python -m jobs run experiments/{experiment}.yaml" if experiment else None


def will_happen(state: str) -> str:
    """Return what stopping a run in this state does."""
    return (
        f"{STOPPING.get(state, '')} Processors and GPUs are free for others, which go on. "
        "`python -m jobs run` with the same experiment goes on with it."
    ).strip()


def standing(training: TrainingFacts, now: datetime) -> str:
    """Return the state of a training as a badge says it: `stalled` where nothing is heard of it."""
    return "stalled" if training.stalled(now) else training.state


def driver_words(driver: DriverFacts, now: datetime) -> str:
    """Return since when a driver works, or what became of it; in Markdown."""
    if driver.ended_at is not None:
        took = span((driver.ended_at - driver.started_at).total_seconds())
        return f"ended {ago(driver.ended_at, now)} after {took}"
    if driver.silent(now):
        return f":orange-badge[silent] not heard of since {driver.at:%H:%M} UTC"
    since = span(max(0.0, (now - driver.started_at).total_seconds()))
    again = f", start {driver.attempt} of its supervisor" if driver.attempt > 1 else ""
    return f"works since {since}{again}, heard of {lately(driver.at, now)}"


def holder_words(claim: ClaimFacts, now: datetime) -> str:
    """Return who has claimed a run, and whether anybody may take it over."""
    host = plain(claim.host) or "a driver that told nothing of itself"
    told = f"{host} works on it since {ago(claim.since, now)}"
    if claim.attempt > 1:
        told += f"; it is driver {claim.attempt} that does"
    if not claim.alive:
        told += ". Nothing was heard of it for a minute, so another driver may take it over"
    return f"{told}."


def lately(then: datetime, now: datetime) -> str:
    """Return how long ago something was that is told of every few seconds."""
    return "just now" if (now - then).total_seconds() < JUST_NOW_SECONDS else ago(then, now)


def node_words(used: float, there: float, kind: str) -> str:
    """Return `3 of 4 GPUs promised, 1 free`; amounts may be fractions."""
    if not there:
        return f"no {kind}s"
    free = max(0.0, there - used)
    return f"{used:g} of {count_of(there, kind)} promised to work, {free:g} free"


def memory_words(node: NodeFacts) -> str:
    """Return how much memory of a machine is used; empty where nobody measured it."""
    if not node.memory or node.memory_used is None:
        return ""
    used, there = node.memory_used / 2**30, node.memory / 2**30
    return f"{used:.1f} of {there:.1f} GiB of memory used"


def count_of(number: float, noun: str) -> str:
    """Return `1 GPU`, `2 GPUs`, `0.5 GPUs`."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def stage_words(stage: StageFacts, now: datetime) -> str:
    """Return how far asking or judging is, how fast, and how long it still takes; Markdown."""
    told = [f"{stage.done:,} of {count(stage.of, 'completion')}"]
    if stage.per_second is not None:
        told.append(f"{stage.per_second:.3g} a second")
    if stage.workers:
        told.append(count(stage.workers, "worker"))
    if stage.stalled(now):
        told.append(f":orange-badge[stalled] last got on {ago(stage.at, now)}")
    elif stage.seconds_left is not None and stage.done < stage.of:
        told.append(f"about {span(stage.seconds_left)} left")
    return ", ".join(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An active run in the queue."""

    run: RunFacts
    position: int | None
    """From 1 among those that wait; None: it does not wait."""
    share: float
    """Of its present stage that is done, in [0, 1]."""
    words: str
    """Markdown."""
    stalled: bool


def queue(
    runs: Sequence[RunFacts],
    stages: Sequence[StageFacts],
    trainings: Mapping[str, TrainingFacts],
    now: datetime,
) -> list[Place]:
    """Return the runs that are not over: those at work by stage, then the queue.

    Args:
        runs: of one experiment, in the order of its grid.
        stages: of these, what got on last first.
        trainings: by run.
        now: the moment.
    """
    latest = {stage.run: stage for stage in reversed(stages)}
    working = [run for run in runs if run.state in ACTIVE[1:]]
    places = [_at_work(run, latest.get(run.id), trainings.get(run.id), now) for run in working]
    waiting = [run for run in runs if run.state == "waiting"]
    for position, run in enumerate(waiting, start=1):
        before = position - 1
        words = f"waits, {count(before, 'run')} before it" if before else "comes next"
        places.append(Place(run=run, position=position, share=0.0, words=words, stalled=False))
    return places


def _at_work(
    run: RunFacts, stage: StageFacts | None, training: TrainingFacts | None, now: datetime
) -> Place:
    share, words, stalled = 0.0, "", False
    if run.state == "training" and training is not None:
        share = min(1.0, training.last_step / training.of) if training.of else 0.0
        words, stalled = training_words(training, now), training.stalled(now)
    elif stage is not None and stage.name.startswith(run.state):
        share = stage.done / stage.of if stage.of else 0.0
        words = f"{plain(stage.name.partition(' ')[2])}, {stage_words(stage, now)}"
        stalled = stage.stalled(now)
    said = f"{run.state}, {words}" if words else run.state
    return Place(run=run, position=None, share=share, words=said, stalled=stalled)


def training_words(training: TrainingFacts, now: datetime) -> str:
    """Return how far a training is, how it does, and how long it still takes; Markdown."""
    if not training.last_step:
        return "starts, no step is done yet"
    of = f" of {training.of:,}" if training.of else ""
    told = [f"step {training.last_step:,}{of}"]
    if training.loss is not None:
        told.append(f"loss {training.loss:.3f}")
    if training.tokens_per_second is not None:
        told.append(f"{training.tokens_per_second:,.0f} tokens/s")
    if training.stalled(now):
        told.append(f":orange-badge[stalled] last step {ago(training.at, now)}")
        if training.step_seconds is not None:
            told.append(f"one takes {span(training.step_seconds)}")
    elif training.state == "training" and training.seconds_left is not None:
        told.append(f"about {span(training.seconds_left)} left")
    return ", ".join(told)


def outcome_row(label: str, outcomes: Mapping[str, int]) -> dict[str, str]:
    """Return a row of the table of outcomes; what the sandbox failed on stands apart.

    Args:
        label: of the run, as Markdown.
        outcomes: verdicts by outcome.
    """
    judged = sum(number for name, number in outcomes.items() if name in OUTCOMES)
    row = {"Run": label, "Judged": f"{judged:,}"}
    row |= {
        words: f"{outcomes[name]:,}" if outcomes.get(name) else NONE
        for name, words in OUTCOMES.items()
    }
    ours = outcomes.get("sandbox_error", 0)
    return row | {"the sandbox failed": f":orange-badge[{ours:,}]" if ours else NONE}


def log_lines(text: str, wanted: str) -> str:
    """Return the lines of a log that hold a text, whatever its case; all without one."""
    if not wanted.strip():
        return text
    kept = [line for line in text.splitlines() if wanted.strip().lower() in line.lower()]
    return "\n".join(kept)
