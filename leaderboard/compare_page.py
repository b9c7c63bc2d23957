"""Any two runs, or three, problem by problem."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import streamlit as st

from database import paired
from database.costs import cost_key
from database.facts import Pulse, RunFacts, Standing
from database.paired import Pair, Paired, Written
from database.problems import ProblemFacts
from leaderboard import (
    choices,
    compare_words,
    links,
    marks,
    ranking,
    reading,
    untrusted,
    verdict_words,
)
from leaderboard.board_page import opened, watch
from leaderboard.words import interval, names_of, percent, plain, program, small

PROBLEMS_ON_A_PAGE = 200
FITTING, HIGHEST = 12, 420
"""More problems scroll in a grid of so many pixels."""
ANY = "Any"
"""No failure is chosen."""


def show() -> None:
    """Show the runs that the URL names side by side."""
    st.title("Compare")
    pulse = opened()
    watch(pulse, progress=False)
    known = {one.name: one for one in reading.benchmarks(pulse)}
    if not known:
        st.info("No scores to compare yet. Run `make train-all`.")
        return
    with st.container(horizontal=True):
        name = st.selectbox("Benchmark", list(known), key="benchmark", bind="query-params")
        metric = st.selectbox("Metric", known[name].metrics, key="metric", bind="query-params")
        found = reading.standings(pulse, name, metric)
        contract = st.selectbox(
            "Contract",
            ranking.contracts(found),
            key="contract",
            bind="query-params",
            help="How models were asked and judged. Only scores under one contract compare.",
        )
    if len({standing.result.run for standing in found}) < 2:
        st.info("It takes two runs with scores on this benchmark to compare.")
        return
    st.fragment(_compare)(pulse, found, contract)


def _compare(pulse: Pulse, found: Sequence[Standing], contract: str) -> None:
    of_run = compare_words.by_run(found, contract)
    names = dict(zip(of_run, names_of(list(of_run.values())), strict=True))
    chosen = _choose(of_run, names)
    shared = compare_words.shared_contract(found, chosen, contract)
    if shared not in (None, contract):
        st.info(
            f"Not every run chosen has a score under contract {contract}. They are compared under "
            f"{shared}, which they share."
        )
        of_run = compare_words.by_run(found, shared)
    sides = [of_run[run] for run in chosen]
    letters = "ABC"[: len(sides)]
    st.markdown(compare_words.side_names([s.result.run for s in sides], names.__getitem__))
    if len({side.result.run for side in sides}) < len(sides):
        st.info("One run was chosen twice; choose another.")
        return
    against = [
        reading.paired(pulse, reading.key_of(sides[0]), reading.key_of(other))
        for other in sides[1:]
    ]
    against = paired.together(against)
    _verdicts(sides, against)
    first = against[0]
    if first.pairs:
        _problems(pulse, sides, against)
    _made_of(pulse, sides, letters)
    result = sides[0].result
    links.page_tools(
        f"compare-{'-'.join(side.result.run for side in sides)}",
        _rows(sides, against),
        keep={
            **links.held("show", "failure", "plain"),
            "benchmark": result.benchmark,
            "metric": result.metric,
            "contract": result.contract,
            **{letter.lower(): s.result.run for letter, s in zip(letters, sides, strict=True)},
        },
    )


def _choose(of_run: dict[str, Standing], names: dict[str, str]) -> list[str]:
    """Return the ids of A, B and, where there is one, C."""
    runs = list(of_run)
    for letter in "abc":
        asked = st.query_params.get(letter)
        if asked and asked not in of_run:
            instead = "no third run" if letter == "c" else "another"
            st.warning(f"Run {untrusted.word(asked)} has no score here; {instead} is shown.")
    first, second = _first_pair(of_run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        a = choices.one("a", "A", runs, default=first, shown=names.__getitem__)
        b = choices.one("b", "B", runs, default=second, shown=names.__getitem__)
        c = choices.one(
            "c", "C", runs, default=None, shown=names.__getitem__, optional="Add a third"
        )
        st.button("Swap A and B", icon=":material/swap_horiz:", on_click=_swap, args=(a, b))
    return [run for run in (a, b, c) if run is not None]


def _swap(a: str, b: str) -> None:
    choices.put("a", b)
    choices.put("b", a)


def _first_pair(of_run: dict[str, Standing]) -> tuple[str, str]:
    """The best tuned run with its base, or the first two."""
    for run, standing in of_run.items():
        if standing.result.base in of_run:
            return run, standing.result.base
    first, second, *_ = of_run
    return first, second


def _verdicts(sides: Sequence[Standing], against: Sequence[Paired]) -> None:
    for letter, other, found in zip("BC", sides[1:], against, strict=False):
        st.header(f"A against {letter}", anchor=False)
        st.markdown(
            f"{_score(sides[0])} against {_score(other)}. "
            f"{compare_words.sentence(found, len(against))}"
        )
        if found.pairs:
            _counts(found, letter, sides[0].result.metric)
    if any(not found.why for found in against):
        how = links.methods_link("How differences are made", "the-difference-from-the-base")
        st.markdown(
            small(
                f"Pairs picked because they look far apart look further apart than they are. {how}"
            )
        )


def _score(standing: Standing) -> str:
    result = standing.result
    return f"{percent(result.value)} ({interval(result.low, result.high)})"


def _counts(found: Paired, letter: str, metric: str) -> None:
    solved = found.solved_by()
    labels: dict[paired.Solver, str] = {
        "both": "Both solve",
        "a": "Only A",
        "b": f"Only {letter}",
        "neither": "Neither",
    }
    with st.container(horizontal=True):
        for solver, label in labels.items():
            st.metric(label, f"{solved[solver]:,}", border=True, width=130)
    st.caption(compare_words.solved_words(found, metric, letter))


def _problems(pulse: Pulse, sides: Sequence[Standing], against: Sequence[Paired]) -> None:
    st.header("Problems")
    runs = [side.result.run for side in sides]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.pills("Show", list(compare_words.SHOWN), key="show", bind="query-params")
        failure = st.selectbox(
            "Failure",
            [ANY, *verdict_words.FAILURES],
            key="failure",
            bind="query-params",
            help="Problems to which an answer of one of these runs ended so.",
        )
    found = compare_words.narrowed(against[0], shown)
    if failure != ANY:
        failing = reading.failing(pulse, reading.key_of(sides[0]), tuple(runs)).get(failure, set())
        found = [pair for pair in found if pair.task_id in failing]
    if not found:
        st.info(_nothing_left(shown, failure))
        return
    pages = ceil(len(found) / PROBLEMS_ON_A_PAGE)
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    start = (page - 1) * PROBLEMS_ON_A_PAGE
    here = found[start : start + PROBLEMS_ON_A_PAGE]
    failed = paired.failures(reading.ledger(), sides[0], runs, [pair.task_id for pair in here])
    further = against[1] if len(against) > 1 else None
    _grid(
        compare_words.problem_rows(here, further, runs, failed),
        here,
        f"{shown}-{failure}-{page}-{runs}",
    )
    _one_problem(sides, here)


def _nothing_left(shown: str | None, failure: str) -> str:
    if failure == ANY:
        return f"No problem is left under “{shown}”. Choose it again to see all."
    among = f" under “{shown}”" if shown else ""
    return f"No problem{among} was failed by “{failure}”. Choose “{ANY}” to see all."


def _grid(rows: list[dict[str, Any]], pairs: Sequence[Pair], state: str) -> None:
    """The list; a row that is chosen opens below. Selections are positions, so the key has all
    that decides what is where."""
    if st.toggle("View as plain table", key="plain", bind="query-params"):
        plain_rows = [{name: plain(str(cell)) for name, cell in row.items()} for row in rows]
        st.table(plain_rows, hide_index=True, border="horizontal", alt="Problems, side by side")
        return
    key = f"problems-{state}"
    st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) <= FITTING else HIGHEST,
        key=key,
        on_select=lambda: _open(key, pairs),
        selection_mode="single-row",
        placeholder="",
        alt="Problems, side by side; choose a row to read the answers",
    )


def _open(key: str, pairs: Sequence[Pair]) -> None:
    rows = st.session_state[key].selection.rows
    if rows and rows[0] < len(pairs):
        choices.put("problem", pairs[rows[0]].task_id)


def _one_problem(sides: Sequence[Standing], pairs: Sequence[Pair]) -> None:
    of_id = {pair.task_id: pair for pair in pairs}
    task_id = choices.one(
        "problem", "Read one problem", list(of_id), default=pairs[0].task_id, shown=str
    )
    if task_id is None:
        return
    engine, result = reading.ledger(), sides[0].result
    runs = [side.result.run for side in sides]
    question = paired.question(engine, sides[0], task_id)
    prompt = question.prompt if question else ""
    written = paired.written(engine, sides[0], runs, task_id)
    st.markdown(
        links.problem_link(result.benchmark, result.contract, task_id, "All answers to it")
        + " · "
        + links.try_link(
            runs,
            "Try these models on it side by side",
            problem=f"{result.benchmark}:{task_id}",
            contract=result.contract,
        )
    )
    if question:
        _question(question)
    wanted = _wanted(of_id[task_id])
    programs: list[str | None] = []
    for letter, column, side in zip("ABC", st.columns(len(sides)), sides, strict=False):
        with column:
            st.markdown(f"**{letter}**: {plain(side.label)}")
            answers = written.get(side.result.run, [])
            if answers:
                passed = wanted.get(letter)
                programs.append(_answer(letter, side, answers, prompt, task_id, passed))
            else:
                programs.append(None)
                st.caption(compare_words.unanswered(side, sides[0]))
    if programs[0] is not None and programs[1] is not None:
        _diff(programs[0], programs[1])


def _wanted(pair: Pair) -> dict[str, bool]:
    """Which answers tell why the two differ: one that passed of who is ahead, one that failed."""
    if not pair.delta:
        return {}
    return {"A": pair.delta > 0, "B": pair.delta < 0}


def _question(question: ProblemFacts) -> None:
    untrusted.glance(question.instruction or question.prompt, language=None)
    with st.expander("Tests"):
        untrusted.glance(question.tests, language="python")


def _answer(
    letter: str,
    side: Standing,
    answers: Sequence[Written],
    prompt: str,
    task_id: str,
    passed: bool | None,
) -> str:
    """Show one answer of a run; return its program."""
    place = st.selectbox(
        f"Answer of {letter}",
        range(len(answers)),
        index=compare_words.telling(answers, passed),
        format_func=lambda place: compare_words.answer_name(answers[place]),
        key=f"answer-{letter}-{side.result.run}-{task_id}",
        label_visibility="collapsed",
    )
    answer = answers[place]
    text = program(answer.text, prompt, whole=answer.whole)
    more = links.completion_link(answer.id, "Open it", side.judging)
    untrusted.glance(text, language="python", more=more)
    if answer.detail:
        untrusted.glance(answer.detail, language=None)
    st.markdown(small(f"{more}: limits, provenance, judge it again"))
    return text


def _diff(ours: str, theirs: str) -> None:
    with st.expander("What differs between the two programs"):
        lines = compare_words.unified(ours, theirs)
        if lines:
            untrusted.glance(lines, language="diff")
        else:
            st.caption("Nothing: the two programs are the same to the letter.")


def _made_of(pulse: Pulse, sides: Sequence[Standing], letters: str) -> None:
    of_id = {run.id: run for run in reading.runs(pulse)}
    runs: list[RunFacts] = [of_id[side.result.run] for side in sides]
    st.header("What they are made of")
    shown = [
        links.run_link(run.id, f"Run {letter}") for run, letter in zip(runs, letters, strict=True)
    ]
    tried = links.try_link([run.id for run in runs], "Try these side by side")
    st.markdown(" · ".join([*shown, tried]))
    rows = compare_words.settings(runs)
    if rows:
        st.table(rows, hide_index=True, border="horizontal", alt="Settings that differ")
    else:
        st.caption("No setting differs.")
    if around := compare_words.surroundings(runs):
        with st.expander("What else differs: commit, versions, machines"):
            st.table(around, hide_index=True, border="horizontal", alt="Surroundings that differ")
    _costs(pulse, sides, letters)


def _costs(pulse: Pulse, sides: Sequence[Standing], letters: str) -> None:
    result = sides[0].result
    known = reading.costs(pulse, result.benchmark, result.metric)
    said = [
        f"- **{letter}**: {plain(marks.in_full(cost, reading.price()))}."
        for letter, side in zip(letters, sides, strict=True)
        if (cost := known.get(cost_key(side)))
    ]
    if said:
        st.subheader("What they cost")
        st.markdown("\n".join(said))


def _rows(sides: Sequence[Standing], against: Sequence[Paired]) -> list[dict[str, object]]:
    """The file: each problem with what every side made of it."""
    further = {pair.task_id: pair for pair in against[1].pairs} if len(against) > 1 else {}
    runs = [side.result.run for side in sides]
    rows: list[dict[str, object]] = []
    for pair in against[0].pairs:
        row: dict[str, object] = {"problem": pair.task_id, "metric": sides[0].result.metric}
        others = [further[pair.task_id].b] if pair.task_id in further else []
        for run, side in zip(runs, [pair.a, pair.b, *others], strict=False):
            row |= {f"{run} passed": side.passed, f"{run} answers": side.completions}
        row["difference"] = pair.delta
        rows.append(row)
    return rows
