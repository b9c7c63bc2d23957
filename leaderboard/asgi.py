"""The pages and, on the same port, the JSON API and a health check, behind one door.

`python -m leaderboard` starts it, as `streamlit run leaderboard/asgi.py`.
"""

from pathlib import Path

import streamlit as st
from sqlalchemy import Engine
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from leaderboard import access, api
from leaderboard.door import HEALTH, Door
from leaderboard.scripts import Scripts
from leaderboard.sign_in import SignIn


def ledger() -> Engine:
    """Return the ledger that the pages read.

    Raises:
        LedgerError: there is none yet, or it cannot be read.
    """
    from leaderboard import reading  # its caches want a running Streamlit

    return reading.ledger()


app = st.App(
    Path(__file__).with_name("app.py"),
    routes=[
        Route(HEALTH, api.health(ledger)),
        Mount("/api/v1", app=api.make_api(ledger)),
    ],
    middleware=[
        Middleware(Door, access=access.from_environment()),
        Middleware(Scripts),
        Middleware(SignIn),
    ],
)
