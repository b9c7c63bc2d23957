"""A cluster of Slurm's nodes, for as long as their allocation lasts."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from cluster.acting import FORTNIGHT, CommandError, Hands
from cluster.declared import Slurm
from cluster.places.place import Named, Submission, passed_on, write_variables
from cluster.ports import FIRST, LAST, SPAN
from cluster.session import ROOT, forget, own_token, running
from cluster.submitting import checked, entrypoint, submit_to_recorded

LEAD_SECONDS = 120
"""Before the end of its time, the batch script is told, so that the nodes end in order."""
SCRIPT = """#!/bin/bash
{options}
# Written by `python -m cluster`; one node is the head, and all of them work.
set -euo pipefail
cd {folder}
export CODELADDER_HOME={home}
state={state}
first=$(( {first} + SLURM_JOB_ID % {spans} * {span} ))   # two clusters on one node keep apart
meet=$state/address-$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}
trap 'rm -f "$meet"' EXIT
trap 'kill -TERM "$nodes" 2>/dev/null || true' TERM

srun --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=0 bash -c '
    role=(--join-at "$2")
    [ "$SLURM_NODEID" != 0 ] || role=(--head --meet "$2"{record})
    exec .venv/bin/python -m cluster node "${{role[@]}}" --ports "$1" --token {token} \\
        --variables {variables} --state "/tmp/codeladder-$UID/slurm-$SLURM_JOB_ID" \\
        --cpus {cpus} --gpus {gpus}{more}
' node "$first" "$meet" &
nodes=$!
until [ -s "$meet" ]; do
    kill -0 "$nodes" || exit 1
    sleep 1
done
{work}
"""
STAND = 'wait "$nodes" || wait "$nodes"   # the first wait ends with a signal, the second with them'
RUN = """.venv/bin/python -m cluster submit {experiment} --at "$(cat "$meet")" --name {name} \\
    --restarts {restarts} --wait &
sent=$!
status=0
wait "$sent" || status=$?   # bash hears a signal only while it waits
kill "$sent" "$nodes" 2>/dev/null || true
wait "$nodes" || true
exit "$status\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSlurm:
    """A batch script, and sbatch to hand it in."""

    declared: Slurm
    named: Named
    hands: Hands

    def up(self) -> None:
        """Ask for the nodes, unless they are asked for or there already."""
        if not self.hands.dry and (found := self._number()):
            self.hands.say(f"Slurm job {found} is there already: squeue --jobs {found}")
            return
        number = self._hand_in(self._job_name, STAND, record=True)
        self.hands.say(f"handed in: Slurm job {number}; python -m cluster status says when it runs")

    def down(self) -> None:
        """Cancel the allocation; the nodes end what runs on them."""
        name = f"--name={self._job_name}"
        self.hands.run(["scancel", "--signal=TERM", "--batch", name])
        self.hands.run(["scancel", name])
        if not self.hands.dry:  # a head that died could not
            forget(Path(self.declared.home), name=self.named.name)
        self.hands.say("cancelled")

    def status(self) -> int:
        """Show the Slurm job, and where its cluster is."""
        shown = self.hands.show(["squeue", f"--name={self._job_name}"])
        found = running(Path(self.declared.home))
        self.hands.say(f"cluster  {found['address']}" if found else "No cluster is up yet.")
        return shown if found else 1

    def submit(self, submission: Submission) -> int:
        """To the cluster that is up; else as a Slurm job of its own, which ends with it."""
        home = Path(self.declared.home)
        if running(home) is not None:
            return submit_to_recorded(home, submission, self.hands)
        checked(submission.experiment)
        entrypoint(submission)  # refuses a file that the nodes would not find
        work = RUN.format(
            experiment=shlex.quote(str(submission.experiment.resolve().relative_to(ROOT))),
            name=shlex.quote(submission.name),
            restarts=submission.restarts,
        )
        job_name = f"{self._job_name}.{submission.name}"  # `down` is for the cluster that stands
        try:
            number = self._hand_in(job_name, work, wait=submission.wait)
        except CommandError as error:
            if not submission.wait or error.status is None:
                raise
            self.hands.say(f"{error.said.strip()}; its output: {self._state}/NUMBER.log")
            return error.status  # of the job's, so of the driver
        self.hands.say(
            f"handed in: Slurm job {number}, which ends with the experiment, or by: "
            f"scancel --batch --signal=TERM {number}"
        )
        return 0

    @property
    def _job_name(self) -> str:
        return f"codeladder-{self.named.name}"

    @property
    def _state(self) -> Path:
        return Path(self.declared.home) / "cluster" / self.named.name

    def _number(self) -> str:
        asked = ["squeue", "--noheader", "--format=%A", f"--name={self._job_name}"]
        return self.hands.run(asked).strip().partition("\n")[0]

    def _hand_in(self, name: str, work: str, *, wait: bool = False, record: bool = False) -> str:
        if not self.hands.dry:
            own_token(Path(self.declared.home))
        variables = passed_on(self.declared)
        write_variables(self.hands, self._state / "variables.json", variables)
        path = self._state / f"{name}.sbatch"
        recorded = self.named.name if record else ""
        self.hands.write(path, script(self.declared, name, self._state, work, recorded))
        command = ["sbatch", "--parsable", *(["--wait"] if wait else []), str(path)]
        return self.hands.run(command, seconds=FORTNIGHT).strip()


def script(declared: Slurm, name: str, state: Path, work: str = STAND, recorded: str = "") -> str:
    """The batch script of a cluster.

    Args:
        name: of the Slurm job.
        recorded: as what the home of work records the cluster; empty: it is not for others.
    """
    more = f" \\\n        --interface {declared.interface}" if declared.interface else ""
    more += f" \\\n        --kind {declared.gpu_kind}" if declared.gpu_kind else ""
    return SCRIPT.format(
        options="\n".join(f"#SBATCH {option}" for option in options(declared, name, state)),
        folder=declared.folder,
        home=declared.home,
        state=state,
        first=FIRST,
        span=SPAN,
        spans=(LAST - FIRST) // SPAN,
        nodes=declared.nodes,
        token=Path(declared.home) / "cluster.token",
        variables=state / "variables.json",
        cpus=declared.cpus,
        gpus=declared.gpus,
        more=more,
        record=f" --record {recorded}" if recorded else "",
        work=work,
    )


def options(declared: Slurm, name: str, state: Path) -> list[str]:
    """What sbatch is asked for."""
    wanted: dict[str, object] = {
        "job-name": name,
        "nodes": declared.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": declared.cpus,
        "time": declared.time,
        "signal": f"B:TERM@{LEAD_SECONDS}",
        "output": f"{state}/%j.log",
        "open-mode": "append",
    }
    wanted |= {"gpus-per-node": declared.gpus} if declared.gpus else {}
    wanted |= {"mem": f"{declared.memory_gib}G"} if declared.memory_gib else {}
    wanted |= {"partition": declared.partition} if declared.partition else {}
    wanted |= {"account": declared.account} if declared.account else {}
    return ["--requeue", *(f"--{key}={value}" for key, value in wanted.items()), *declared.options]
