"""`python -m cluster status`: where the cluster of a running command is, and its token."""

import argparse
import os
import sys
from pathlib import Path

from cluster.session import ROOT, running


def main(arguments: list[str] | None = None) -> int:
    """Print address, dashboard and token of the cluster that a running command uses.

    Returns:
        The exit status: 1 when no command runs.
    """
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.add_argument(
        "command",
        choices=["status", "dashboard"],
        help="status: everything; dashboard: its address, and the token it asks for",
    )
    command = parser.parse_args(arguments).command
    home = Path(os.environ.get("CODELADDER_HOME") or ROOT / "runs")
    found = running(home)
    if found is None:
        print(
            f"No command with a cluster runs in {home}. "
            "The dashboard is there while `make train-all` or `python -m jobs run` works.",
            file=sys.stderr,
        )
        return 1
    if command == "status":
        print(f"cluster    {found['address']}")
    print(f"dashboard  {found['dashboard_url'] or 'none'}")
    print(f"token      {_token(found['token_path'])}")
    return 0


def _token(path: str) -> str:
    return Path(path).read_text() if path else "as in RAY_AUTH_TOKEN"


if __name__ == "__main__":
    sys.exit(main())
