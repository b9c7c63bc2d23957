"""What pages read of problems and answers, kept until the ledger's pulse changes."""

import streamlit as st

from database import completions, problems
from database.completions import CompletionPage
from database.facts import Pulse
from database.problems import ContractFacts, ProblemFacts, ProblemName, ScoredRun
from database.scores import ProblemResult
from database.tallies import tallies
from leaderboard.reading import BUT_STEPS, ledger


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def contracts(pulse: Pulse, benchmark: str) -> list[ContractFacts]:
    """Return the contracts with scores of a benchmark, the one with most runs first."""
    return problems.contracts(ledger(), benchmark)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def scored_runs(pulse: Pulse, benchmark: str, asking: str, judging: str) -> list[ScoredRun]:
    """Return the runs with a score under one contract, the best first."""
    return problems.scored_runs(ledger(), benchmark, asking, judging)


@st.cache_data(max_entries=64, show_spinner=False)
def digest(judging: str) -> str:
    """Return the sha256 of the file that a judging contract names; empty: none."""
    return problems.digest_of(ledger(), judging)


@st.cache_data(max_entries=16, show_spinner=False, hash_funcs=BUT_STEPS)
def problem_names(pulse: Pulse, benchmark: str, digest: str) -> list[ProblemName]:
    """Return the problems of one version of a benchmark, in the order of its file."""
    return problems.problem_names(ledger(), benchmark, digest)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def mentioning(pulse: Pulse, benchmark: str, digest: str, words: str) -> set[str]:
    """Return the ids of the problems that have these words in name, family or instruction."""
    return problems.mentioning(ledger(), benchmark, digest, words)


@st.cache_data(max_entries=16, show_spinner=False, hash_funcs=BUT_STEPS)
def results(
    pulse: Pulse, benchmark: str, asking: str, judging: str, runs: tuple[str, ...]
) -> dict[str, list[ProblemResult]]:
    """Return what runs made of each problem under one contract, by run."""
    return tallies(ledger(), benchmark=benchmark, asking=asking, judging=judging, runs=runs)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def problem(pulse: Pulse, benchmark: str, digest: str, task_id: str) -> ProblemFacts | None:
    """Return one problem; None where the ledger holds none of that name."""
    return problems.problem(ledger(), benchmark, digest, task_id)


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=BUT_STEPS)
def completion(pulse: Pulse, completion_id: str) -> CompletionPage | None:
    """Return one answer with its verdicts; None where the ledger holds none of that id."""
    return completions.completion_page(ledger(), completion_id)
