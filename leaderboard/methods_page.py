"""How each number is made: the text of docs/methods.md, and contracts in words."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from database import LedgerError, paired
from leaderboard import contract_words, links, reading, untrusted
from leaderboard.words import plain

TEXT = Path(__file__).parents[1] / "docs" / "methods.md"
FILE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)#]*\.md[^)]*\)")
"""A link to another file of the documentation, which is no page here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the text below a heading of its own."""

    title: str
    anchor: str
    """What a link to it ends with, after `#`."""
    text: str
    """Markdown."""


def show() -> None:
    """Show the contract that the URL names, and how each number is made."""
    title, opening, sections = sections_of(TEXT.read_text(encoding="utf-8"))
    st.title("Methods")
    contract = st.query_params.get("contract")
    if contract:
        _contract(contract)
    st.header(title, anchor="how")
    st.markdown(opening)
    st.markdown("\n".join(f"- [{section.title}](#{section.anchor})" for section in sections))
    for section in sections:
        st.header(section.title, anchor=section.anchor)
        st.markdown(section.text)
    links.page_tools("methods", [{"section": s.title, "text": s.text} for s in sections])


def sections_of(text: str) -> tuple[str, str, list[Section]]:
    """Return the title of a Markdown file, what stands below it, and its sections."""
    opening, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title, _, rest = opening.removeprefix("# ").partition("\n")
    return title.strip(), _linked(rest), [_section(part) for part in parts]


def anchor_of(title: str) -> str:
    """Return the anchor of a heading, as GitHub makes it: so links fit the file as well."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _section(part: str) -> Section:
    title, _, text = part.partition("\n")
    return Section(title=title.strip(), anchor=anchor_of(title.strip()), text=_linked(text))


def _linked(text: str) -> str:
    """Name other files of the documentation without linking what is no page."""
    return FILE_LINK.sub(lambda found: f"`docs/{found[1].removeprefix('docs/')}`", text).strip()


def _contract(contract: str) -> None:
    try:
        engine = reading.ledger()
        parts = paired.contract_parts(engine, contract)
    except LedgerError as error:
        st.warning(f"The contract cannot be read: {plain(str(error))}")
        return
    if parts is None:
        st.warning(f"No score was made under a contract `{plain(contract)}`.")
        return
    said = paired.contents_of(engine, *parts)
    st.header(f"Contract `{contract}`", anchor="contract")
    st.caption("Scores compare only where all of this is the same.")
    asked, judged = st.columns(2)
    with asked:
        st.subheader("How models were asked", anchor="asked")
        st.table(
            contract_words.asking_rows(said), hide_index=True, border="horizontal", alt="Asking"
        )
    with judged:
        st.subheader("How answers were judged", anchor="judged")
        st.table(
            contract_words.judging_rows(said), hide_index=True, border="horizontal", alt="Judging"
        )
    with st.expander("To the letter"):
        st.markdown(f":small[Asking `{parts[0]}`]")
        untrusted.glance(json.dumps(said.asking, indent=2), language="json")
        st.markdown(f":small[Judging `{parts[1]}`]")
        untrusted.glance(json.dumps(said.judging, indent=2), language="json")
