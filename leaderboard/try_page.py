"""Ask up to three models the same thing and watch them answer side by side."""

import time
from collections.abc import Sequence

import httpx
import streamlit as st

from leaderboard import serving
from leaderboard.serving import Answer, Model, ServerError, Streams
from leaderboard.words import cut, plain, span

TICK_SECONDS = 0.12
"""Between two redraws of the answers; Stop is noticed at each."""
MODELS_AT_MOST = 3
INSTRUCTION = (
    "Write a function `sum_even_squares(numbers)` that returns the sum of the squares of the even "
    "numbers in `numbers`."
)
SIGNATURE = "def sum_even_squares(numbers):"


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
    instruction, signature, tokens, temperature = _question()
    with st.container(horizontal=True):
        asked = st.button("Ask", type="primary", disabled=not chosen or not instruction.strip())
        stop = st.empty()
    before: Streams | None = st.session_state.get("streams")
    if before is not None:
        before.close()
    if asked:
        stop.button("Stop", key="stop")
        _ask(chosen, instruction, signature, tokens, temperature)
        stop.empty()
    elif before is not None:
        _redraw(before.answers)


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
    instruction = st.text_area("Instruction", INSTRUCTION, height=80, max_chars=4_000, key="ask")
    signature = st.text_input(
        "Signature (optional; the answer continues it)", SIGNATURE, max_chars=400, key="signature"
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


def _redraw(answers: Sequence[Answer]) -> None:
    for column, answer in zip(st.columns(len(answers)), answers, strict=True):
        _draw(column.empty(), answer)


def _draw(slot: "st.delta_generator.DeltaGenerator", answer: Answer) -> None:
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
