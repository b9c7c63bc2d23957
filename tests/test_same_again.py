"""The same experiment on one worker and on two: nothing that the ledger keeps of it differs."""

import pytest
from shared_cluster import SharedCluster
from test_pipeline import contents

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 420.0
ANSWERS = 211 * 8
EXPERIMENT = """
models: {starter-falcon: {path: models/starter/falcon}}
datasets: [smoke]
methods:
  lora-r8: {kind: lora, rank: 8, alpha: 16, learning_rate: 4.0e-3, steps: 20, batch_size: 8,
            max_length: 256, precision: fp32}
benchmarks:
  starter: {completions: 8, temperature: 0.8, top_p: 0.95, max_new_tokens: 64, report: [1, 8]}
"""


def test_one_worker_and_two_give_the_same_completions_verdicts_and_scores(tmp_path):
    experiment = tmp_path / "same.yaml"
    experiment.write_text(EXPERIMENT)
    homes = {}
    for workers in (1, 2):
        homes[workers] = tmp_path / f"home{workers}"
        with SharedCluster(gpus=0, cpus=workers) as cluster:
            driver = cluster.driver(homes[workers], experiment)
            assert driver.wait(PATIENCE_SECONDS) == 0, (homes[workers] / "same.out").read_text()

    one, kept = contents(homes[1]), contents(homes[2])
    assert one.pop("claims") != kept.pop("claims")  # by two drivers
    assert one == kept
    assert len(kept["completions"]) == len(kept["verdicts"]) == 2 * ANSWERS
    assert len(kept["scores"]) == 4
