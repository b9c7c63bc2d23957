"""Hugging Face's `code_eval`, as bigcode-evaluation-harness carries it, one worker.

The metric itself is fetched from the hub at run time; no release of `evaluate` on PyPI has it. The
harness's copy is on PyPI in NVIDIA's package of the harness. Only that module is imported, not the
harness around it, whose weight would make every fork dearer.
"""

import importlib.util
import os
import sys
from pathlib import Path

import driver


def main() -> None:
    """Serve."""
    options = driver.parser(__doc__).parse_args()
    harness = importlib.util.find_spec("bigcode_eval")
    if harness is None or harness.origin is None:
        raise SystemExit("nvidia-bigcode-eval is not installed")
    sys.path.insert(0, str(Path(harness.origin).parent / "tasks"))
    from custom_metrics.code_eval import compute_code_eval

    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    problems = driver.read(options.problems)
    predictions = [[p["prompt"] + p["canonical_solution"]] for p in problems]
    references = [f"{p['test']}\ncheck({p['entry_point']})" for p in problems]

    def run(executions: int) -> driver.Answer:
        passed = 0
        for _ in range(executions // len(problems)):
            _, results = compute_code_eval(
                predictions, references, k=[1], num_workers=1, timeout=3.0
            )
            passed += sum(result[0][1]["passed"] for result in results.values())
        return {"passed": passed}

    driver.serve(options.channel, run)


if __name__ == "__main__":
    main()
