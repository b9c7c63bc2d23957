"""What Ray adds to a step of a training: `make bench-ray-overhead`, in about twelve minutes.

One order, one worker and two, is carried out by Ray Train, as `python -m jobs run` does it, and
without Ray: by `python -m jobs.training` alone, and by torchrun. Both leave the seconds of every
step behind. Those of Ray get what the worker spends on sending its messages added, which happens
between steps. Rows, weights and arithmetic are the same, so a step is compared with the same step.

A shared host is faster in one minute than in the next, by more than what is looked for. So the runs
take turns, in an order that turns by one from round to round; each is a process of its own, and no
cluster runs beside a run without Ray. Ray starts its workers with a niceness of 15, so the others
get the same: whatever else this host does holds both up alike. The first steps are left out. Of the
others the median of the ratios is taken, which a few disturbed steps do not move, and of the rounds
the median again.
Two workers on a machine of two cores leave Ray's own processes no core, so their work is counted,
and the other worker waits for it too. So two workers are measured on the first core alone as well,
with and without Ray: all else has the other cores, as on a node that has more cores than workers.

The last lines are `figure ray_overhead_NAME X percent`, one for each setting; less than 3 is
wanted, and less than 0 is noise.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.data.row import Row, write_rows
from jobs.methods import LoRA
from jobs.training.order import TrainOrder, from_json, to_json
from jobs.training.settings import ALONE, Spread
from jobs.training.steps import Progress, read_steps

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "models" / "starter" / "llama"
WARM, MEASURED = 10, 70
"""Steps."""
FIRST_CORE = 0
LIMIT = 3.0
"""Percent."""
NICENESS = "15"
"""Of Ray's workers, see `worker_niceness` among its settings."""
TRAINS = "ray::RayTrainWorker"
"""What Ray calls a process that trains."""
TOLD = "told"


@dataclass(frozen=True, slots=True)
class Setting:
    """How many workers there are, and where."""

    workers: int
    on_one_core: bool = False


SETTINGS = {
    "one_worker": Setting(1),
    "two_workers": Setting(2),
    "two_workers_one_core": Setting(2, on_one_core=True),
}


class FailedError(Exception):
    """A training did not end well."""


@dataclass(frozen=True)
class Timed:
    """A mailbox that notes, in a file, the seconds it kept its sender. Picklable."""

    mailbox: Any
    file: Path

    def put(self, *messages: Progress) -> None:
        """Send, and do not wait."""
        started = time.monotonic()
        self.mailbox.put(*messages)
        with self.file.open("a") as notes:
            notes.write(f"{time.monotonic() - started}\n")


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    if options.under_ray:
        _train_under_ray(from_json(options.under_ray.read_text()), SETTINGS[options.setting])
        return 0
    chosen = options.only.split(",") if options.only else list(SETTINGS)
    seconds: dict[tuple[str, bool], list[list[float]]] = defaultdict(list)
    kinds = [(name, ray) for name in chosen for ray in (True, False)]
    with tempfile.TemporaryDirectory() as place:
        order = _prepared(Path(place), options.width, WARM + options.steps)
        for turn in range(options.rounds):
            start = turn % len(kinds)
            for name, ray in kinds[start:] + kinds[:start]:
                told = f"{_title(name)}, {'Ray' if ray else 'no Ray'}"
                _progress(f"{told}, round {turn + 1} of {options.rounds}")
                folder = Path(place) / f"{name}-{ray}-{turn}"
                try:
                    taken = _taken(order, folder, name, ray=ray)
                except FailedError as error:
                    print(f"{told}: {error}", file=sys.stderr)
                    return 1
                seconds[name, ray].append(taken)
    _print_table(chosen, seconds)
    for name in chosen:
        rounds = _overheads(seconds[name, True], seconds[name, False])
        print(f"figure ray_overhead_{name} {median(rounds):.2f} percent")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=MEASURED, help="measured in each run")
    parser.add_argument("--width", type=int, default=256, help="of the model")
    parser.add_argument("--only", help="names of settings, with commas between")
    parser.add_argument("--under-ray", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepared(folder: Path, width: int, steps: int) -> TrainOrder:
    """Rows, a model with the tokenizer of a starter model, and the order for one worker."""
    base, rows = folder / "base", folder / "rows"
    _write_base(base, width)
    rows.mkdir()
    write_rows(list(_rows(96)), rows / "00000.parquet")
    method = LoRA(kind="lora", batch_size=16, steps=steps, checkpoint_every=10**6)
    return TrainOrder(
        run_id="measured",
        location=str(base),
        revision=None,
        rows=rows,
        settings=method.settings(),
        spread=ALONE,
        seed=0,
        folder=folder,
    )


def _write_base(folder: Path, width: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(STARTER)
    config.update({"hidden_size": width, "intermediate_size": 3 * width})
    config.update({"head_dim": width // config.num_attention_heads})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def _rows(count: int) -> Iterator[Row]:
    for number in range(count):
        lines = [f"    total += {number} * numbers[{i}]" for i in range(3 + number % 9)]
        response = "\n".join(["def f(numbers):", "    total = 0", *lines, "    return total"])
        yield Row(
            instruction=f"Add up the first {len(lines)} numbers, {number} times each.",
            response=response,
            source="made",
            place=f"rows.jsonl:{number + 1}",
            licence="CC0-1.0",
        )


def _taken(order: TrainOrder, folder: Path, name: str, *, ray: bool) -> list[float]:
    """Seconds of each measured step of one training, run from nothing."""
    workers = SETTINGS[name].workers
    spread = Spread(strategy="ddp", ranks=workers) if workers > 1 else ALONE
    mine = replace(order, folder=folder, spread=spread)
    folder.mkdir()
    path = folder / "given.json"
    path.write_text(to_json(mine))
    under_ray = [sys.executable, __file__, "--setting", name, "--under-ray", str(path)]
    command = under_ray if ray else _alone(path, SETTINGS[name])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FailedError("\n".join((done.stderr or done.stdout).strip().splitlines()[-5:]))
    steps = read_steps(mine.checkpoint / "steps.jsonl")
    told = folder / TOLD
    telling = sum(map(float, told.read_text().split())) / len(steps) if told.exists() else 0.0
    return [step.seconds + telling for step in steps[WARM:]]


def _alone(path: Path, setting: Setting) -> list[str]:
    start = ["taskset", "--cpu-list", str(FIRST_CORE)] if setting.on_one_core else []
    start += ["nice", "-n", NICENESS, sys.executable]
    if setting.workers > 1:
        start += ["-m", "torch.distributed.run", "--standalone"]
        start += ["--nproc-per-node", str(setting.workers)]
    return [*start, "-m", "jobs.training", str(path)]


def _train_under_ray(order: TrainOrder, setting: Setting) -> None:
    """As the driver does it: a cluster, a mailbox emptied twice a second, and the gang."""
    from cluster.mailbox import Mailbox
    from cluster.session import connect
    from jobs.listen import POLL_SECONDS
    from jobs.train import train

    if setting.on_one_core:  # inherited by all of Ray
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {FIRST_CORE})
    with connect(order.folder), ExitStack() as beside:
        mailbox = Mailbox.create()
        beside.enter_context(_again_and_again(mailbox.drain, POLL_SECONDS))
        if setting.on_one_core:
            beside.enter_context(_again_and_again(_move_workers, POLL_SECONDS))
        train(order, Timed(mailbox, order.folder / TOLD), gpus=False)  # type: ignore[arg-type]


def _move_workers() -> None:
    """Put all threads of the workers of the training on the first core."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, ProcessLookupError):  # it ended
            if TRAINS in " ".join(process.cmdline()):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, {FIRST_CORE})


@contextmanager
def _again_and_again(act: Callable[[], object], poll: float) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(poll):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _overheads(with_ray: list[list[float]], without: list[list[float]]) -> list[float]:
    """Percent of a step, by round."""
    return [
        100 * (median(a / b for a, b in zip(one, other, strict=True)) - 1)
        for one, other in zip(with_ray, without, strict=True)
    ]


def _print_table(names: Sequence[str], seconds: dict[tuple[str, bool], list[list[float]]]) -> None:
    print(f"\n{'':22}{'ms a step, Ray':>18}{'without':>12}{'overhead by round, %':>34}")
    for name in names:
        ray, without = seconds[name, True], seconds[name, False]
        each = [1000 * median(chain.from_iterable(rounds)) for rounds in (ray, without)]
        overheads = " ".join(f"{value:+.2f}" for value in _overheads(ray, without))
        print(f"{_title(name):22}{each[0]:>18.1f}{each[1]:>12.1f}{overheads:>34}")
    print(f"\nless than {LIMIT:.0f} % is wanted\n")


def _title(name: str) -> str:
    return name.replace("_", " ")


def _progress(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
