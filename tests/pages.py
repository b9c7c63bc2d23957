"""Pages, run by Streamlit's own tester, and the ledger behind them."""

from pathlib import Path

import pytest
import streamlit as st
from plausible_rows import small_ledger
from streamlit.testing.v1 import AppTest

from database import open_ledger, write

APP = str(Path(__file__).parents[1] / "leaderboard" / "app.py")


@pytest.fixture
def board(home):
    """The ledger behind the pages; what the last test left in the caches is dropped."""
    st.cache_data.clear()
    st.cache_resource.clear()
    engine = open_ledger()
    yield engine
    engine.dispose()
    st.cache_resource.clear()


@pytest.fixture
def filled(board):
    """The same, with a base and its adapter."""
    write(board, small_ledger())
    return board


def page(script=None, **query):
    """The leaderboard, or the page that `script` shows, after its first run."""
    app = AppTest.from_function(script) if script else AppTest.from_file(APP)
    app.default_timeout = 60
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def run_script():
    from leaderboard import run_page

    run_page.show()


def table(app, number=0):
    return app.table[number].value
