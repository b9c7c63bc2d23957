"""evalplus, base tests only, one worker.

Does what `evalplus.evaluate --base_only --parallel 1` does between reading its files and counting
its scores, in a pool that stays up. `HUMANEVAL_OVERRIDE_PATH` names the file of HumanEval+.

Version 0.3.1 calls every answer to HumanEval/32 wrong, its own too, having run all of its tests:
the oracle for that problem skips the counting (evalplus/evalplus#201). So 163 of 164 pass.
"""

from concurrent.futures import ProcessPoolExecutor, as_completed

import driver
from evalplus.data import get_human_eval_plus, get_human_eval_plus_hash
from evalplus.eval import PASS
from evalplus.evaluate import check_correctness, get_groundtruth


def main() -> None:
    """Serve."""
    options = driver.parser(__doc__).parse_args()
    solutions = {
        problem["task_id"]: problem["prompt"] + problem["canonical_solution"]
        for problem in driver.read(options.problems)
    }
    problems = get_human_eval_plus()
    expected = get_groundtruth(problems, get_human_eval_plus_hash(), [])

    with ProcessPoolExecutor(max_workers=1) as pool:

        def run(executions: int) -> driver.Answer:
            passed = 0
            for _ in range(executions // len(solutions)):
                futures = [
                    pool.submit(
                        check_correctness,
                        "humaneval",
                        0,
                        problems[task],
                        solution,
                        expected[task],
                        base_only=True,
                        fast_check=True,
                        identifier=task,
                    )
                    for task, solution in solutions.items()
                ]
                done = (future.result() for future in as_completed(futures))
                passed += sum(result["base"][0] == PASS for result in done)
            return {"passed": passed}

        driver.serve(options.channel, run)


if __name__ == "__main__":
    main()
