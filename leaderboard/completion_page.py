"""One answer: what was asked, what came, what was judged of it, and what became of that."""

from collections.abc import Sequence

import streamlit as st

from database import completions
from database.comparability import Contents
from database.completions import CompletionFacts, CompletionPage, VerdictFacts
from database.facts import Pulse, RunFacts
from database.problems import ProblemFacts
from database.standings import contract_of
from leaderboard import (
    contract_words,
    dataset_words,
    evidence,
    links,
    people,
    problem_text,
    reading,
    run_facts,
    serving,
    untrusted,
    verdict_words,
)
from leaderboard.board_page import opened, watch
from leaderboard.serving import Again, ServerError
from leaderboard.stepping import FOLLOWING, PREVIOUS, step
from leaderboard.words import NONE, count, plain, program, span


def show() -> None:
    """Show the answer that the URL names."""
    pulse = opened()
    wanted = st.query_params.get("id", "")
    page = evidence.completion(pulse, wanted)
    if page is None:
        st.title("Answer")
        st.warning(
            f"The ledger holds no answer {untrusted.word(wanted)}."
            if wanted
            else "The address names no answer."
        )
        st.markdown("[All problems](problems)")
        return
    _answer(pulse, page)


def _answer(pulse: Pulse, page: CompletionPage) -> None:
    facts, verdict = page.facts, _verdict(page.verdicts)
    digest = str(verdict.content.get("sha256", "")) if verdict else ""
    asked = evidence.problem(pulse, facts.benchmark, digest, facts.task_id)
    found = reading.run_page(pulse, facts.run)
    run = found.run if found else None
    _head(page, verdict, run)
    watch(pulse, progress=False)
    _neighbours(facts, digest)
    _outcome(page, verdict)
    _again(facts, verdict)
    _program(facts, verdict, asked)
    _problem(asked)
    _others(page, verdict)
    _contract(page, verdict)
    if run is not None:
        _made_by(run)
    links.page_tools(
        f"answer-{facts.id}",
        [_row(facts, one) for one in page.verdicts],
        keep={"id": facts.id, "judging": verdict.judging if verdict else None},
    )


def _verdict(verdicts: Sequence[VerdictFacts]) -> VerdictFacts | None:
    """The verdict under the contract that the URL names; without one, what was scored last."""
    wanted = st.query_params.get("judging", "")
    found = next((one for one in verdicts if one.judging == wanted), None)
    if wanted and found is None:
        st.warning(f"It has no verdict under the contract {untrusted.word(wanted)}.")
    return found or (verdicts[0] if verdicts else None)


def _head(page: CompletionPage, verdict: VerdictFacts | None, run: RunFacts | None) -> None:
    facts = page.facts
    st.title(f"{untrusted.word(facts.task_id)}, answer {facts.position + 1}")
    outcome = verdict.outcome if verdict else None
    said = verdict_words.short(outcome)
    st.badge(f"{verdict_words.sign(outcome)} {said}", color=verdict_words.colour(outcome))
    by = links.run_link(facts.run, run.label if run else facts.run)
    contract = contract_of(facts.asking, verdict.judging) if verdict else ""
    problem = links.problem_link(
        facts.benchmark, contract, facts.task_id, untrusted.seen(facts.task_id), facts.run
    )
    st.markdown(f"By {by}, to problem {problem} of {plain(facts.benchmark)}.")


def _neighbours(facts: CompletionFacts, digest: str) -> None:
    beside = completions.neighbours(reading.ledger(), facts, digest)
    with st.container(horizontal=True):
        told = "Of the same run, in the order of the benchmark's file."
        step("Previous answer", beside.previous, PREVIOUS, told)
        step("Next answer", beside.following, FOLLOWING, told)


def _outcome(page: CompletionPage, verdict: VerdictFacts | None) -> None:
    facts = page.facts
    st.header("What became of it")
    if verdict is None:
        st.info("Nobody has judged it yet.")
    else:
        what = verdict_words.failure(verdict.outcome, verdict.detail, verdict.extracted)
        took = f"{span(verdict.cpu_seconds)} of CPU, {span(verdict.wall_seconds)} in all"
        limits = verdict_words.limits(verdict.content)
        st.markdown(f"**{plain(what[0].upper() + what[1:])}**. {took}. {limits}")
        if verdict.detail:
            untrusted.show(verdict.detail, language=None, key="detail", name=f"{facts.id} detail")
    st.caption(
        f"Answer {facts.position + 1} to its problem, {count(facts.tokens, 'token')}, "
        f"{verdict_words.ended(facts.finish)}."
    )
    if page.claim is not None:
        said = "passes" if page.claim.passed else "fails"
        st.markdown(f"Its publisher says that it **{said}**.")
        if page.claim.detail:
            untrusted.glance(page.claim.detail, language=None)


def _again(facts: CompletionFacts, verdict: VerdictFacts | None) -> None:
    """Offer to judge it once more, and show the fresh verdict beside the recorded one."""
    if verdict is None or facts.pruned_at is not None:
        return
    if people.may_act():
        st.button(
            "Judge again",
            on_click=_judge,
            args=(facts.id, verdict.judging),
            icon=":material/gavel:",
            help="In the sandbox of the model server, under the same contract. "
            "The ledger stays as it is.",
        )
    said = _said_again(facts, verdict)
    if isinstance(said, Again):
        _beside(said, verdict)
    elif said:
        st.warning(f"It was not judged again: {plain(said)}")


def _said_again(facts: CompletionFacts, verdict: VerdictFacts | None) -> Again | str | None:
    """What came of judging this answer again under this contract; None: nobody asked for it."""
    key, said = st.session_state.get("again", (None, None))
    return said if verdict is not None and key == (facts.id, verdict.judging) else None


def _judge(completion: str, judging: str) -> None:
    try:
        said: Again | str = serving.judge_again(serving.client(), completion, judging)
    except ServerError as error:
        said = str(error)
    st.session_state["again"] = (completion, judging), said


def _beside(said: Again, verdict: VerdictFacts) -> None:
    fresh = verdict_words.short(said.verdict.outcome)
    recorded = verdict_words.short(verdict.outcome)
    same = "the same" if said.verdict.outcome == verdict.outcome else "**not the same**"
    st.markdown(
        f"Again: **{plain(fresh)}**, {span(said.verdict.wall_seconds)}; "
        f"recorded: **{plain(recorded)}**, {span(verdict.wall_seconds)}: {same}."
    )
    if said.verdict.outcome == verdict_words.OURS:
        st.caption("The sandbox failed just now; that says nothing of the answer.")
    if said.verdict.detail:
        untrusted.glance(said.verdict.detail, language=None)


def _program(
    facts: CompletionFacts, verdict: VerdictFacts | None, asked: ProblemFacts | None
) -> None:
    name = f"{facts.id} answer"
    st.header("The answer as it came")
    if facts.pruned_at is not None:
        day = f"{facts.pruned_at:%Y-%m-%d}"
        st.info(f"Its text was pruned on {day} to save room. What was judged of it stays.")
        return
    if not facts.text.strip():
        st.caption("It has no word in it.")
    untrusted.show(facts.text, language="python", key="answer", name=name)
    st.header("The program that was judged")
    content = verdict.content if verdict else {}
    st.markdown(verdict_words.found_by(content, verdict.extracted if verdict else None))
    said = _said_again(facts, verdict)
    judged = said.program if isinstance(said, Again) else _known(facts, verdict, asked)
    if judged is None:
        st.caption(
            "The ledger keeps answers, not what an extraction found in them. "
            "Judge it again to see that."
        )
    elif judged == facts.text:
        st.caption("It is the answer, to the letter.")
    else:
        untrusted.show(
            judged, language="python", key="program", name=f"{facts.id} program",
            line_numbers=True,
        )  # fmt: skip


def _known(
    facts: CompletionFacts, verdict: VerdictFacts | None, asked: ProblemFacts | None
) -> str | None:
    """The program, where nothing was looked for in the answer; None: the ledger does not know."""
    if verdict is None or verdict.content.get("extract", "none") != "none":
        return None
    if asked is None and not facts.whole:
        return None
    return program(facts.text, asked.prompt if asked else "", whole=facts.whole)


def _problem(asked: ProblemFacts | None) -> None:
    st.header("What was asked")
    if asked is None:
        st.caption("The ledger does not have the problem it was judged on.")
        return
    problem_text.show(asked)


def _others(page: CompletionPage, verdict: VerdictFacts | None) -> None:
    """Show the verdicts under all judging contracts, where there are several."""
    if len(page.verdicts) < 2:
        return
    st.header("Under other contracts")
    rows = [
        {
            "Contract": links.completion_link(
                page.facts.id, contract_of(page.facts.asking, one.judging), one.judging
            )
            + (" (shown)" if one is verdict else ""),
            "Outcome": verdict_words.badge(one.outcome),
            "Detail": untrusted.word(one.detail) or NONE,
            "Extraction": plain(str(one.content.get("extract", NONE))),
            "Preamble": plain(str(one.content.get("preamble", NONE))),
            "Took": span(one.wall_seconds),
        }
        for one in page.verdicts
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Verdicts under each contract")


def _contract(page: CompletionPage, verdict: VerdictFacts | None) -> None:
    said = Contents(asking=page.asking, judging=verdict.content if verdict else {})
    with st.expander("How it was asked and judged"):
        asked = contract_words.asking_rows(said)
        st.table(asked, hide_index=True, border="horizontal", alt="How it was asked")
        if verdict is not None:
            judged = contract_words.judging_rows(said)
            st.table(judged, hide_index=True, border="horizontal", alt="How it was judged")
            contract = contract_of(page.facts.asking, verdict.judging)
            st.markdown(links.methods_link(f"Contract {contract}", contract=contract))


def _made_by(run: RunFacts) -> None:
    st.header("What made it")
    said = [links.run_link(run.id, run.label)]
    if trained_on := dataset_words.trained_on(run):
        said.append(trained_on)
    if run.base_run is not None:
        said.append(links.run_link(run.base_run, "Its base"))
    st.markdown(". ".join(said) + ".")
    untrusted.glance(run_facts.provenance_lines(run, None), language=None)


def _row(facts: CompletionFacts, verdict: VerdictFacts) -> dict[str, object]:
    return {
        "completion": facts.id,
        "run": facts.run,
        "benchmark": facts.benchmark,
        "problem": facts.task_id,
        "position": facts.position,
        "contract": contract_of(facts.asking, verdict.judging),
        "outcome": verdict.outcome,
        "detail": verdict.detail,
        "cpu_seconds": round(verdict.cpu_seconds, 4),
        "wall_seconds": round(verdict.wall_seconds, 4),
        "tokens": facts.tokens,
        "finish": facts.finish,
    }
