"""What a run is and where it came from, as badges, as text to copy, and as a model card. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from database.facts import CheckpointFacts, Exposure, Result, RunFacts, RunPage
from leaderboard.words import count, difference, interval, percent
from leaderboard.work_words import command

UNKNOWN = "not recorded"


def seeds(run: RunFacts, runs: Sequence[RunFacts]) -> int:
    """Return with how many seeds its recipe was trained to the end.

    Args:
        run: a tuned run.
        runs: all.
    """
    recipe = _recipe(run)
    done = (one for one in runs if one.kind == run.kind and one.state == "done")
    return len({one.seed for one in done if _recipe(one) == recipe})


def _recipe(run: RunFacts) -> str:
    """All that shapes the weights but the seed."""
    return json.dumps({name: p for name, p in run.spec.items() if name != "seed"}, sort_keys=True)


def with_words(runs: Sequence[RunFacts], words: str) -> list[RunFacts]:
    """Return the runs that have every one of these words in label, id or state."""
    wanted = words.casefold().split()
    return [
        run
        for run in runs
        if all(word in f"{run.label} {run.id} {run.state}".casefold() for word in wanted)
    ]


def contamination(found: Sequence[Exposure]) -> str:
    """Return a badge's words on what it was trained on; empty: its data touches no problem."""
    of_file: Counter[tuple[str, str | None]] = Counter()
    for one in found:  # one for each contract, and several contracts may be on one file
        of_file |= Counter({(one.benchmark, one.benchmark_digest): one.problems})
    problems = of_file.total()
    return f"trained on {count(problems, 'problem')} of benchmarks" if problems else ""


def provenance_lines(run: RunFacts, weights: CheckpointFacts | None) -> str:
    """Return what it takes to make a run again, as lines to copy."""
    known = run.provenance
    dirty = " (with changes that were not committed)" if known.get("dirty") else ""
    model = known.get("model") or {}
    lines = {
        "run": run.id,
        "label": run.label,
        "commit": f"{known.get('commit', UNKNOWN)}{dirty}",
        "command": command(run) or UNKNOWN,
        "experiment": known.get("experiment", UNKNOWN),
        "base model": f"{model.get('location', run.model)}, revision "
        f"{model.get('revision') or UNKNOWN}",
        "dataset": f"{run.dataset}, digest {run.dataset_digest or UNKNOWN}" if run.dataset else "",
        "method": run.method or "",
        "seed": run.seed,
        "weights": f"{weights.path}, sha256 {weights.sha256}" if weights else "",
        "host": known.get("host", UNKNOWN),
        "device": _device(weights),
        "libraries": ", ".join(f"{k} {v}" for k, v in (known.get("libraries") or {}).items()),
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items() if value != "")


def _device(weights: CheckpointFacts | None) -> str:
    facts = weights.facts if weights else {}
    device, ranks = facts.get("device", ""), facts.get("ranks")
    return f"{device} x {ranks}".strip() if device and ranks else str(device)


def card(page: RunPage, exposures: Sequence[Exposure]) -> str:
    """Return a model card out of what the ledger knows, and what it does not know.

    Args:
        page: its scores in view of each other.
        exposures: of the run.
    """
    run = page.run
    parts = [
        f"# {_line(run.label)}",
        _about(run),
        "## Scores\n\n" + (_scores(page) or "None yet."),
        "## Training data and benchmarks\n\n" + _touched(run, exposures),
        f"## How it was made\n\n{_fenced(provenance_lines(run, page.checkpoint))}",
        f"## What shaped the weights\n\n{_fenced(json.dumps(run.spec, indent=2))}",
        "## Not known here\n\n- The licence of the base model, and what it allows.\n"
        "- What the base model itself was trained on.\n"
        "- How it does on anything but the benchmarks above.",
    ]
    return "\n\n".join(parts) + "\n"


def _about(run: RunFacts) -> str:
    if run.kind == "base":
        return f"The model {_line(run.model)} as it came."
    if run.kind == "imported":
        return f"Answers of {_line(run.model)} that were made elsewhere; there are no weights."
    return (
        f"{_line(run.model)}, tuned on {_line(run.dataset or UNKNOWN)} with "
        f"{_line(run.method or UNKNOWN)}, seed {run.seed}. State: {run.state}."
    )


def _scores(page: RunPage) -> str:
    lines = [
        f"- {_line(s.result.benchmark)} {s.result.metric}: {percent(s.result.value)} "
        f"({interval(s.result.low, s.result.high)}, 95 %), {s.result.problems} of {s.asked} "
        f"problems, contract {s.result.contract}{_against(s.result)}"
        for s in page.standings
    ]
    return "\n".join(lines).replace("\u00a0", " ")


def _against(result: Result) -> str:
    if result.delta is None or result.delta.value is None:
        return ""
    return f"; against its base {difference(result.delta, result.verdict)}"


def _touched(run: RunFacts, exposures: Sequence[Exposure]) -> str:
    if run.dataset is None:
        return "None of ours."
    if not exposures:
        return "Not known: its data was not compared with a benchmark it has a score on."
    return "\n".join(
        f"- {_line(one.benchmark)}: {count(one.problems, 'problem')} touched by rows trained on"
        for one in exposures
    )


def _fenced(text: str) -> str:
    """A text in a fence that nothing in it can close."""
    longest = max((len(run) for run in _ticks(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _ticks(text: str) -> list[str]:
    return [part for part in "".join(c if c == "`" else " " for c in text).split() if part]


def _line(text: Any) -> str:
    """One line of Markdown in which nothing acts."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!~&$" else c for c in " ".join(str(text).split()))
