"""Who gets in: settings that `python -m leaderboard` checks and hands to the pages it starts.

Without a way to sign in, the board is for those who can reach it, so it stays on this machine.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

SECRETS = Path(".streamlit") / "secrets.toml"

SignIn = Literal["none", "oidc", "header"]


class AccessError(Exception):
    """Settings under which nobody, or anybody, would get in; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How visitors are known, and what they may do."""

    local: bool = True
    """Whether the pages are reached from this machine alone."""
    sign_in: SignIn = "none"
    user_header: str = ""
    """The header in which a proxy says who signed in."""
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses whose word on that is taken."""
    members: tuple[str, ...] = ()
    """Addresses of those who may act; `*` is everybody, `*@example.org` everybody there."""
    token: str = ""
    """What programs show to use the JSON API."""

    def may_act(self, who: str) -> bool:
        """Whether this visitor may stop runs, vote and have answers judged again."""
        if self.sign_in == "none":
            return True
        named = who.strip().lower()
        return bool(named) and any(_covers(member, named) for member in self.members)

    def as_environment(self) -> dict[str, str]:
        """What `from_environment` reads; secrets are there already."""
        return {
            "CODELADDER_BOARD_LOCAL": "yes" if self.local else "no",
            "CODELADDER_BOARD_SIGN_IN": self.sign_in,
        }


def from_environment(environment: Mapping[str, str] = os.environ) -> Access:
    """Return the settings in effect.

    Pages that are started without `python -m leaderboard` are for this machine alone.
    """
    told = environment.get("CODELADDER_BOARD_SIGN_IN", "none")
    sign_in: SignIn = "oidc" if told == "oidc" else "header" if told == "header" else "none"
    return Access(
        local=environment.get("CODELADDER_BOARD_LOCAL", "yes") == "yes",
        sign_in=sign_in,
        user_header=environment.get("CODELADDER_USER_HEADER", ""),
        proxies=_listed(environment.get("CODELADDER_PROXIES", "127.0.0.1,::1")),
        members=tuple(one.lower() for one in _listed(environment.get("CODELADDER_MEMBERS", ""))),
        token=environment.get("CODELADDER_BOARD_TOKEN", ""),
    )


def settled(
    host: str, *, environment: Mapping[str, str] = os.environ, folder: Path = Path()
) -> Access:
    """Return how visitors of pages at an address are known.

    Args:
        host: address that the pages listen at.
        environment: the variables of docs/site.md.
        folder: where `.streamlit/secrets.toml` may be.

    Raises:
        AccessError: others could reach the pages and need not sign in, or nobody could sign in.
    """
    header = environment.get("CODELADDER_USER_HEADER", "")
    oidc = _names_a_provider(folder / SECRETS)
    if header and oidc:
        raise AccessError(
            f"CODELADDER_USER_HEADER and [auth] in {SECRETS} are both set; one way to sign in is "
            "enough: take one of them away"
        )
    if oidc and find_spec("authlib") is None:
        raise AccessError(
            f"{SECRETS} has [auth], and Authlib, which signing in needs, is not installed; "
            "install it: .venv/bin/pip install 'authlib>=1.3.2'"
        )
    local = is_loopback(host)
    sign_in: SignIn = "header" if header else "oidc" if oidc else "none"
    if not local and sign_in == "none":
        raise AccessError(
            f"{host} can be reached from other machines, and nobody has to sign in: anybody could "
            f"stop runs and ask models. Add [auth] to {SECRETS} (OpenID Connect), or set "
            "CODELADDER_USER_HEADER to the header of a proxy that signs people in, or leave out "
            "--host; see docs/site.md"
        )
    told = {**environment, **Access(local=local, sign_in=sign_in).as_environment()}
    return from_environment(told)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own, which no other machine reaches."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _names_a_provider(secrets: Path) -> bool:
    import tomllib

    try:
        return "auth" in tomllib.loads(secrets.read_text())
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise AccessError(f"{SECRETS} cannot be read: {error}") from None


def _covers(member: str, who: str) -> bool:
    if member.startswith("*@"):
        return who.endswith(member[1:])
    return member in ("*", who)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())
