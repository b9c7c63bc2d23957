"""Curves as runs of MLflow."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from database.facts import RunFacts
from database.queries import ACTIVE
from jobs.curves.copies import Point, without_password
from jobs.declared import UserError

RUN_TAG = "codeladder.run"
"""Holds a run's id, by which it is found again."""
STEPS_AT_ONCE = 100
"""A server takes 1000 numbers in one request, and of a step all or none."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Nothing is told to others, and a server that is gone is given up in seconds."""
STATUSES = {"failed": "FAILED", "stopped": "KILLED"} | dict.fromkeys(ACTIVE, "KILLED")
"""What MLflow calls the states of a run when nobody works on it any more."""


class MLflow:
    """One experiment of an MLflow server, or of a database of its own."""

    name = "MLflow"

    def __init__(self, client: Any, experiment_id: str, hint: str) -> None:
        self.hint = hint
        self._client, self._experiment_id = client, experiment_id
        self._runs: dict[str, str] = {}
        self._states: dict[str, str] = {}

    def last_step(self, run: RunFacts) -> int:
        """The furthest step that the server knows."""
        found = self._client.search_runs(
            [self._experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1
        )
        if not found:
            return 0
        self._runs[run.id] = found[0].info.run_id
        history = self._client.get_metric_history(self._runs[run.id], "learning_rate")
        return max((metric.step for metric in history), default=0)

    def write(self, run: RunFacts, points: Sequence[Point]) -> None:
        """Send points; the run is there from its first ones on."""
        if run.id not in self._states:
            if not points:
                return
            self._go_on(run)
        self._states[run.id] = run.state
        for start in range(0, len(points), STEPS_AT_ONCE):
            self._send(self._runs[run.id], points[start : start + STEPS_AT_ONCE])
        if run.state not in ACTIVE:
            self._end(run.id)

    def close(self) -> None:
        """Tell that nobody works on the runs any more."""
        for run_id in list(self._states):
            self._end(run_id)

    def _go_on(self, run: RunFacts) -> None:
        if run.id in self._runs:
            self._client.update_run(self._runs[run.id], status="RUNNING")
            return
        told = {"model": run.model, "method": run.method, "dataset": run.dataset, "seed": run.seed}
        tags = {RUN_TAG: run.id} | {f"codeladder.{key}": str(value) for key, value in told.items()}
        begun = self._client.create_run(self._experiment_id, run_name=run.label, tags=tags)
        self._runs[run.id] = begun.info.run_id

    def _send(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(tag, value, round(1000 * point.at), point.step)
            for point in points
            for tag, value in point.values.items()
        ]
        self._client.log_batch(run_id, metrics)

    def _end(self, run_id: str) -> None:
        status = STATUSES.get(self._states.pop(run_id), "FINISHED")
        self._client.set_terminated(self._runs[run_id], status=status)


def open_mlflow(address: str, experiment: str) -> MLflow:
    """An experiment of MLflow, made if it is not there.

    Args:
        address: of a server (`http://host:5000`) or a database (`sqlite:////folder/mlflow.db`), or
            a folder, where a database is made: MLflow keeps no runs in plain files any more.
        experiment: its name.

    Raises:
        UserError: MLflow is not installed, or does not answer at this address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UserError(
            "--mlflow needs MLflow, the extra `mlflow` of pyproject.toml: "
            ".venv/bin/python -m pip install mlflow-skinny"
        ) from None
    uri = address if "://" in address else _in_folder(Path(address))
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        found = known.experiment_id if known else client.create_experiment(experiment)
    except Exception as error:  # of whatever carries the requests
        reason = without_password(str(error).strip().splitlines()[0])
        shown = without_password(address)
        raise UserError(f"--mlflow {shown}: MLflow does not answer there: {reason}") from None
    shown = without_password(uri)
    hint = shown if uri.startswith("http") else f"mlflow ui --backend-store-uri {shown}"
    return MLflow(client, found, hint)


def _in_folder(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--mlflow {folder}: no folder for curves: {error.strerror}") from None
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"
