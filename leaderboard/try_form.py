"""The form of the try-it page: which models, what they are asked, and how answers are drawn."""

import secrets
from collections.abc import Sequence

import streamlit as st

from leaderboard import choices, questions, serving, stored_problems, try_turns
from leaderboard.examples import EXAMPLES
from leaderboard.own_cases import CasesError, OwnProblem, problems_in
from leaderboard.questions import FORMS, Form, Question, Settings
from leaderboard.serving import Model, ServerError
from leaderboard.words import plain

MODELS_AT_MOST = 3
MOST_CHARACTERS = 30_000
"""Of an instruction; the server takes a little more."""
SURPRISE = "Surprise me"
THESE = "These two"


def models(offered: Sequence[Model]) -> tuple[list[Model], bool]:
    """Let people choose whom to ask; returns the models, and whether their names are hidden."""
    blind = st.toggle(
        "Blind vote",
        key="blind",
        bind="query-params",
        help="Two models answer as A and B. Their names are shown after you have voted.",
    )
    if blind:
        how = st.segmented_control(
            "Which models", [THESE, SURPRISE], default=THESE, required=True, key="pair"
        )
        if how == SURPRISE:
            choices.put("m", None)
            return wanted(offered)
    of_id = {model.id: model for model in offered}
    if lost := [name for name in st.query_params.get_all("m") if name not in of_id]:
        st.warning(plain(f"Not on offer, though the link names it: {', '.join(lost)}."))
    if st.session_state.get("choice-m") is None and not set(choices.chosen("m")) & set(of_id):
        choices.put("m", [model.id for model in serving.first_pair(offered)])
    choices.several(
        "m",
        "Models",
        list(of_id),
        shown=lambda name: of_id[name].label,
        at_most=MODELS_AT_MOST,
        placeholder="Choose up to three",
    )
    return wanted(offered)


def wanted(offered: Sequence[Model]) -> tuple[list[Model], bool]:
    """Return the models that the form asks, and whether their names are hidden."""
    blind = bool(st.session_state.get("blind"))
    if blind and st.session_state.get("pair") == SURPRISE:
        return list(offered), True
    of_id = {model.id: model for model in offered}
    held = st.session_state.get("choice-m")
    names = choices.chosen("m") if held is None else held
    return [of_id[name] for name in names if name in of_id], blind


def question(chosen: Sequence[Model], blind: bool) -> None:
    """Show what is asked; it is read again from the session when somebody asks."""
    first = next(iter(EXAMPLES.values()))
    for name, value in _filled(first).items():
        st.session_state.setdefault(name, value)
    stored_problems.from_link(fill)
    st.pills("Examples", list(EXAMPLES), key="example", on_change=_use_example)
    with st.container(horizontal=True):
        stored_problems.choose(chosen, fill, disabled=blind)
        _from_file()
    chat = bool(chosen) and all(model.chat for model in chosen)
    forms: list[Form] = ["chat", "instruction", "text"] if chat else ["instruction", "text"]
    if st.session_state.get("form", forms[0]) not in forms:
        st.session_state["form"] = forms[0]
    form = st.segmented_control(
        "Asked as",
        forms,
        default=forms[0],
        required=True,
        format_func=FORMS.__getitem__,
        key="form",
        bind="query-params",
        help="An instruction is put into the prompt that the models were tuned with. A text to "
        "continue goes to them to the letter.",
    )
    st.text_area(
        FORMS[form], height=120, max_chars=MOST_CHARACTERS, key="ask", persist_state="session"
    )
    st.text_area(
        "Signature (optional; the answer continues it)",
        height=68,
        max_chars=MOST_CHARACTERS,
        key="signature",
        persist_state="session",
        disabled=form != "instruction",
    )
    with st.expander("Sampling"):
        _sampling()


def ask(offered: Sequence[Model]) -> None:
    """Ask what the form says, or leave in the session why not. A callback.

    Whom is read anew: a click may come before the page is drawn with the last change.
    """
    chosen, blind = wanted(offered)
    st.session_state["trouble"] = trouble = _trouble(chosen, blind)
    if trouble:
        return
    pair = list(chosen)
    if blind:
        pair = secrets.SystemRandom().sample(pair, 2)
    try:
        try_turns.begin(pair, _question(), blind=blind)
    except ServerError as error:
        st.session_state["trouble"] = str(error)


def ask_again(turn: try_turns.Turn) -> None:
    """Ask the same models the same; a seed that was drawn is drawn again. A callback.

    Once their names were shown, they are known: no vote on them would be blind.
    """
    asked = [answer.model for answer in turn.answers]
    if turn.hidden:
        asked = secrets.SystemRandom().sample(asked, len(asked))
    try_turns.begin(asked, questions.again(turn.question), blind=turn.hidden)


def fill(problem: OwnProblem, cases: str | None = None) -> None:
    """Put a problem into the form."""
    st.session_state.update(_filled(problem, cases))
    if st.session_state.get("form") == "text":
        st.session_state["form"] = "instruction"


def _filled(problem: OwnProblem, cases: str | None = None) -> dict[str, str]:
    return {
        "ask": problem.instruction,
        "signature": problem.signature.rstrip(),
        "cases": problem.typed if cases is None else cases,
    }


def _use_example() -> None:
    chosen = st.session_state.get("example")
    if chosen in EXAMPLES:
        fill(EXAMPLES[chosen])
    st.session_state["example"] = None  # so that the same one can be chosen again


def _from_file() -> None:
    """Offer the problems of a test-case file; the one chosen fills the form."""
    with st.popover("From my test-case file"):
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
            key="file_problem",
        )
        st.button("Use it", on_click=fill, args=(problems[place or 0],), key="use")


def _sampling() -> None:
    left, right = st.columns(2)
    left.slider("Temperature", 0.0, 1.5, 0.0, 0.1, key="t", bind="query-params")
    right.slider("Top-p", 0.05, 1.0, 1.0, 0.05, key="p", bind="query-params")
    left.slider("Tokens at most", 16, 1024, 256, 16, key="max", bind="query-params")
    right.number_input(
        "Seed (empty: a new one each time)",
        min_value=0,
        max_value=questions.SEEDS - 1,
        value=None,
        step=1,
        key="seed",
        bind="query-params",
        help="With a temperature of 0 it changes nothing. The seed of an answer stands below it.",
    )


def _trouble(chosen: Sequence[Model], blind: bool) -> str:
    """Why this cannot be asked; empty: it can."""
    if not (st.session_state.get("ask") or "").strip():
        return "Write a question first."
    if blind and len(chosen) < 2:
        return "A blind vote needs two models; choose one more."
    if blind and len(chosen) > 2 and st.session_state.get("pair") != SURPRISE:
        return "A blind vote is between two models; take one away."
    return "" if chosen else "Choose a model first."


def _question() -> Question:
    """What the form says.

    Raises:
        ServerError: the server could not word the prompt.
    """
    state = st.session_state
    settings = Settings(
        temperature=state.get("t", 0.0),
        top_p=state.get("p", 1.0),
        max_tokens=state.get("max", 256),
        seed=questions.seed(state.get("seed")),
        drawn=state.get("seed") is None,
    )
    form: Form = state.get("form", "instruction")
    said = state["ask"]
    if form == "instruction":
        signature = state.get("signature") or ""
        return serving.ask_for_prompt(serving.client(), said, signature, settings)
    opening = said if form == "text" else ""
    return Question(form=form, prompt=said, settings=settings, instruction=said, opening=opening)
