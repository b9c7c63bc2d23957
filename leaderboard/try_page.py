"""Ask up to three models the same thing and watch them answer side by side."""

import time
from collections.abc import Sequence

import httpx
import streamlit as st
from streamlit.delta_generator import DeltaGenerator as Slot

from leaderboard import serving
from leaderboard.own_cases import CasesError, OwnProblem, problems_in, read_tests
from leaderboard.serving import Answer, Model, ServerError, Streams, Verdict
from leaderboard.words import cut, plain, span

TICK_SECONDS = 0.12
"""Between two redraws of the answers; Stop is noticed at each."""
MODELS_AT_MOST = 3
MOST_CHARACTERS = 30_000
"""Of an instruction; the server takes a little more."""
INSTRUCTION = (
    "Write a function `sum_even_squares(numbers)` that returns the sum of the squares of the even "
    "numbers in `numbers`."
)
SIGNATURE = "def sum_even_squares(numbers):"
CASES = "sum_even_squares([1, 2, 4]) == 20\nsum_even_squares([]) == 0"


def show() -> None:
    """Show the form and the answers to the last question."""
    st.title("Try it")
    st.markdown("Ask a base model and what you made of it the same thing.")
    try:
        offered = serving.models(_client(serving.server_url()))
    except ServerError as error:
        _without_server(str(error))
        return
    if not offered:
        st.info("The model server offers no models yet. Run `make train-all`.")
        return
    chosen = _choose(offered)
    _from_file()
    instruction, signature, tokens, temperature = _question()
    with st.container(horizontal=True):
        asked = st.button("Ask", type="primary", disabled=not chosen or not instruction.strip())
        stop = st.empty()
    place = st.container()
    typed, run, verdicts = _cases()  # before answers stream, or Stop would forget what was typed
    before: Streams | None = st.session_state.get("streams")
    if before is not None:
        before.close()
    if asked:
        st.session_state.pop("verdicts", None)
        stop.button("Stop", key="stop")
        with place:
            _ask(chosen, instruction, signature, tokens, temperature)
        stop.empty()
    elif before is not None:
        with place:
            _redraw(before.answers)
    _run(typed, run, verdicts)


@st.cache_resource(max_entries=2, show_spinner=False, on_release=lambda client: client.close())
def _client(url: str) -> httpx.Client:
    """One pooled client for all sessions: a new connection costs the first token its speed."""
    timeout = httpx.Timeout(10, connect=serving.CONNECT_SECONDS)
    return httpx.Client(base_url=url, timeout=timeout, headers=serving.credentials())


def _without_server(reason: str) -> None:
    st.warning(f"{reason[0].upper()}{reason[1:]}.")
    st.markdown(
        "Start one with `make leaderboard`, which runs it beside this page, or with "
        "`python -m jobs serve`. The scores on the other pages do not need it."
    )
    st.button("Look again")


def _choose(offered: Sequence[Model]) -> list[Model]:
    of_id = {model.id: model for model in offered}
    chosen = st.multiselect(
        "Models",
        list(of_id),
        default=[model.id for model in serving.first_pair(offered)],
        format_func=lambda name: of_id[name].label,
        max_selections=MODELS_AT_MOST,
        key="m",
        bind="query-params",
    )
    return [of_id[name] for name in chosen]


def _question() -> tuple[str, str, int, float]:
    """Return the instruction, signature, most tokens and temperature asked for."""
    st.session_state.setdefault("ask", INSTRUCTION)
    st.session_state.setdefault("signature", SIGNATURE)
    instruction = st.text_area("Instruction", height=80, max_chars=MOST_CHARACTERS, key="ask")
    signature = st.text_input(
        "Signature (optional; the answer continues it)", max_chars=400, key="signature"
    )
    left, right = st.columns(2)
    temperature = left.slider("Temperature", 0.0, 1.5, 0.0, 0.1, key="t", bind="query-params")
    tokens = right.slider("Tokens at most", 16, 1024, 256, 16, key="max", bind="query-params")
    return instruction or "", signature or "", tokens, temperature


def _ask(
    chosen: list[Model], instruction: str, signature: str, tokens: int, temperature: float
) -> None:
    """Stream the answers until all have ended, or Stop starts the next run of the page.

    That run may begin before this one is ended, so it closes the streams itself as well.
    """
    try:
        question = serving.ask_for_prompt(
            _client(serving.server_url()),
            instruction,
            signature,
            max_tokens=tokens,
            temperature=temperature,
        )
    except ServerError as error:
        _without_server(str(error))
        return
    streams = Streams(chosen, question)
    try:
        st.session_state["streams"] = streams
        slots = [column.empty() for column in st.columns(len(chosen))]
        while streams.running:
            for slot, answer in zip(slots, streams.answers, strict=True):
                _draw(slot, answer)
            time.sleep(TICK_SECONDS)
    finally:
        streams.close()
    for slot, answer in zip(slots, streams.answers, strict=True):
        _draw(slot, answer)


def _from_file() -> None:
    """Offer the problems of a test-case file; the one chosen fills the form."""
    with st.expander("A problem of my test-case file"):
        file = st.file_uploader("Custom form, one problem a line", ["jsonl", "json"], key="file")
        if file is None:
            return
        try:
            problems = problems_in(file.getvalue())
        except CasesError as error:
            st.error(plain(f"{file.name}: {error}"))
            return
        place = st.selectbox(
            "Problem",
            range(len(problems)),
            format_func=lambda n: f"{problems[n].task_id}: {problems[n].instruction[:80]}",
            key="problem",
        )
        st.button("Use it", on_click=_fill, args=(problems[place or 0],), key="use")


def _fill(problem: OwnProblem) -> None:
    st.session_state["ask"] = problem.instruction
    st.session_state["signature"] = problem.signature.rstrip()
    st.session_state["cases"] = problem.typed


def _cases() -> tuple[str, Slot, Slot]:
    """The test cases as typed, the place of the button, and that of the verdicts."""
    st.session_state.setdefault("cases", CASES)
    typed = st.text_area(
        "Test cases: a line for each, or JSON in the custom form",
        height=100,
        max_chars=MOST_CHARACTERS,
        key="cases",
    )
    return typed or "", st.empty(), st.container()


def _run(typed: str, run: Slot, place: Slot) -> None:
    """Offer to run the tests, and show what became of each answer."""
    streams: Streams | None = st.session_state.get("streams")
    answers = [answer for answer in streams.answers if answer.text] if streams else []
    clicked = run.button(
        "Run it", disabled=not answers, help="In the sandbox, by the model server.", key="run"
    )
    if clicked:
        with place, st.spinner("The sandbox runs the tests"):
            st.session_state["verdicts"] = typed, _judge(typed, answers)
    tested, verdicts = st.session_state.get("verdicts", ("", ()))
    if not verdicts:
        return
    with place:
        if tested != typed:
            st.caption("The test cases were changed since; run them again.")
        for answer, verdict in zip(answers, verdicts, strict=True):
            _tell(answer, verdict)


def _judge(typed: str, answers: Sequence[Answer]) -> list[Verdict]:
    """The verdict on each answer, or none where the tests or the server are at fault."""
    client = _client(serving.server_url())
    try:
        tests = read_tests(typed)
        return [serving.judge(client, answer, tests) for answer in answers]
    except (CasesError, ServerError) as error:
        st.error(plain(str(error)))
        return []


def _tell(answer: Answer, verdict: Verdict) -> None:
    """One verdict; what it says of the program is only ever shown as text."""
    mark = "✓" if verdict.outcome == "passed" else "✗"
    took = f"{span(verdict.cpu_seconds)} of CPU, {span(verdict.wall_seconds)} in all"
    outcome = verdict.outcome.replace("_", " ")
    st.markdown(f"{mark} {plain(answer.model.label)}: **{plain(outcome)}**, {took}")
    if verdict.outcome == "sandbox_error":
        st.caption("The sandbox failed; that says nothing of the answer.")
    if verdict.detail:
        st.code(verdict.detail, language=None, wrap_lines=True)


def _redraw(answers: Sequence[Answer]) -> None:
    for column, answer in zip(st.columns(len(answers)), answers, strict=True):
        _draw(column.empty(), answer)


def _draw(slot: Slot, answer: Answer) -> None:
    """Draw one answer; what a model writes is only ever shown as code."""
    with slot.container(border=True):
        st.markdown(f"**{plain(answer.model.label)}**")
        if answer.text:
            st.code(cut(answer.opening + answer.text), language="python", wrap_lines=True)
        st.caption(plain(status(answer)))


def status(answer: Answer) -> str:
    """Return where an answer stands, in one line."""
    if answer.first_seconds is None:
        if answer.ended is not None:
            return answer.note or "no answer: the model ended at once"
        waited = span(time.monotonic() - answer.started)
        return f"{answer.note or 'waiting for the first token'}: {waited}"
    told = [f"first token after {answer.first_seconds:.2f} s", f"{answer.tokens} tokens"]
    if answer.tokens_per_second is not None:
        told.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return ", ".join([*told, *([answer.note] if answer.note else [])])
