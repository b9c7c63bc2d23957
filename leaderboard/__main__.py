"""`python -m leaderboard`: the pages, and beside them the server of the try-it box."""

import argparse
import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

from leaderboard.access import Access, AccessError, settled

SITE = Path(__file__).with_name("asgi.py")
LOOPBACK = "127.0.0.1"
SERVE_TOKEN = "CODELADDER_SERVE_TOKEN"


def main() -> int:
    """Start both, show the address, and stop both together; returns the exit status."""
    asked = _parser().parse_args()
    taken = [
        f"port {port} is in use; stop what listens there, or say {option}=ANOTHER"
        for address, port, option in (
            (asked.host, asked.port, "PORT"),
            (LOOPBACK, asked.serve_port, "SERVE_PORT"),
        )
        if _in_use(address, port)
    ]
    if taken:
        print("\n".join(taken), file=sys.stderr)
        return 2
    try:
        access = settled(asked.host)
    except AccessError as error:
        print(error, file=sys.stderr)
        return 2
    return _run(asked, access)


def _run(asked: argparse.Namespace, access: Access) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    serve = [sys.executable, "-m", "jobs", "serve", "--port", str(asked.serve_port)]
    environment = _environment(asked, access)
    shown = f"[{asked.host}]" if ":" in asked.host else asked.host
    print(f"Leaderboard: http://{shown}:{asked.port}   (Ctrl-C stops it)")
    server = subprocess.Popen(serve, env=environment)
    try:
        return subprocess.run(_pages(asked, access), env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def _environment(asked: argparse.Namespace, access: Access) -> dict[str, str]:
    """What both processes are told."""
    told = {
        **os.environ,
        **access.as_environment(),
        "CODELADDER_SERVE_URL": f"http://{LOOPBACK}:{asked.serve_port}",
        # uvicorn would put X-Forwarded-For in place of the address that the door judges; no
        # address reads like this one, so the header is believed from nobody.
        "FORWARDED_ALLOW_IPS": "nobody",
    }
    if access.sign_in != "none" and not told.get(SERVE_TOKEN):  # other accounts of this machine
        told[SERVE_TOKEN] = secrets.token_urlsafe(32)
    return told


def _pages(asked: argparse.Namespace, access: Access) -> list[str]:
    """The command that serves the pages."""
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(SITE)),
        *("--server.port", str(asked.port), "--server.address", asked.host),
        *("--server.headless", "true"),
    ]
    if access.sign_in == "header":
        named = json.dumps({access.user_header: "email"})
        command += ["--server.trustedUserHeaders", named]
    return command


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port; ports are 1 to 65535")
    return port


def _in_use(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m leaderboard", description=__doc__)
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="address of the pages (%(default)s); beyond this machine people have to sign in",
    )
    parser.add_argument("--port", type=_port, default=8501, help="of the pages (%(default)s)")
    parser.add_argument(
        "--serve-port", type=_port, default=8377, help="of the try-it box's server (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
