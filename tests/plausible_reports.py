"""Plausible reports on datasets, for tests of the ledger, the pages and the cards."""

from dataclasses import replace

from plausible_rows import DIGEST

from jobs.data.report import (
    Drop,
    DuplicatePair,
    Execution,
    Lengths,
    Report,
    SourceCount,
    Touch,
)

STARTER_DATA = "da7ada7ada7a"
TOUCHED = {
    "humaneval": {
        "humaneval/0": {"ngram8": 3, "substring": 1},
        "humaneval/7": {"ngram8": 1},
        "humaneval/9": {"execution": 2},
    },
    "mbpp": {"mbpp/11": {"syntax": 1}},
}
TRAINED_ON = {
    "humaneval": {"humaneval/0": {"ngram8": 2}, "humaneval/7": {"ngram8": 1}},
}


def source(name="code-alpaca", **more):
    given = {
        "source": name,
        "licence": "CC-BY-NC-4.0",
        "attribution": "Code Alpaca by Sahil Chaudhary",
        "terms": "Answers of text-davinci-003: not for models that compete with OpenAI's.",
        "rows_in": 20_022,
        "rows_out": 18_101,
        "rows_written": 18_101,
    }
    return SourceCount(**(given | more))


def pair(place, kind="near", similarity=0.83):
    return DuplicatePair(
        left_out=f"code-alpaca/rows.jsonl:{place}",
        kept="code-alpaca/rows.jsonl:1",
        kind=kind,
        similarity=similarity,
    )


def touch(task_id="humaneval/0", method="ngram8", dropped=False, benchmark="humaneval"):
    return Touch(
        benchmark=benchmark,
        task_id=task_id,
        method=method,
        row="code-alpaca/rows.jsonl:17",
        evidence="for idx, elem in enumerate(numbers): <b>not html</b>",
        dropped=dropped,
    )


def plausible_report(**more):
    """Two sources, one of them twice over; three problems of humaneval touched, one of mbpp."""
    given = {
        "dataset": "starter",
        "digest": STARTER_DATA,
        "rows_in": 20_396,
        "rows_out": 18_475,
        "rows_written": 18_849,
        "sources": (
            source(),
            source(
                "mbpp",
                licence="CC-BY-4.0",
                attribution="MBPP by Google Research",
                terms="",
                rows_in=374,
                rows_out=374,
                rows_written=748,
            ),
        ),
        "drops": (
            Drop(
                source="code-alpaca",
                step="contamination",
                reason="substring",
                rows=4,
                examples=("rows.jsonl:9: from typing import List",),
            ),
            Drop(
                source="code-alpaca",
                step="duplicates",
                reason="near",
                rows=1_203,
                examples=("rows.jsonl:12: like rows.jsonl:1", "rows.jsonl:19: like rows.jsonl:4"),
            ),
            Drop(
                source="code-alpaca",
                step="filters",
                reason="longest_line",
                rows=714,
                examples=("rows.jsonl:3: 4,012 characters <script>alert(1)</script> ``` `",),
            ),
        ),
        "duplicates": tuple(pair(place) for place in range(2, 32)),
        "duplicate_pairs": 1_203,
        "touches": (
            touch(),
            touch(method="substring", dropped=True),
            touch("humaneval/7"),
            touch("humaneval/9", "execution", dropped=True),
            touch("mbpp/11", "syntax", dropped=True, benchmark="mbpp"),
        ),
        "touched": TOUCHED,
        "trained_on": TRAINED_ON,
        "execution": Execution(
            rows_with_tests=374,
            rows_passed=371,
            pairs_nominated=5_000,
            pairs_tried=4_200,
            pairs_solved=2,
            sandbox_errors=1,
        ),
        "lengths": (
            Lengths(
                tokenizer="falcon-tiny",
                edges=(0, 64, 128, 256),
                counts=(9_000, 6_000, 3_000, 475),
                longest=1_911,
                total=1_800_000,
            ),
        ),
        "licence": "CC-BY-NC-4.0",
        "attributions": ("Code Alpaca by Sahil Chaudhary", "MBPP by Google Research (CC-BY-4.0)"),
        "terms": ("Answers of text-davinci-003: not for models that compete with OpenAI's.",),
        "benchmarks": {"humaneval": DIGEST, "mbpp": "e" * 64},
    }
    return Report(**(given | more))


def clean_report(digest="c1ea4c1ea4c1"):
    """A dataset that touches nothing."""
    report = plausible_report(dataset="clean", digest=digest, licence="MIT", drops=())
    return replace(report, touches=(), touched={}, trained_on={})
