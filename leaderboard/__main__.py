"""`python -m leaderboard`: the pages, and beside them the server of the try-it box."""

import argparse
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).with_name("app.py")
LOOPBACK = "127.0.0.1"


def main() -> int:
    """Start both, show the address, and stop both together; returns the exit status."""
    asked = _parser().parse_args()
    taken = [
        f"port {port} is in use; stop what listens there, or say {option}=ANOTHER"
        for port, option in ((asked.port, "PORT"), (asked.serve_port, "SERVE_PORT"))
        if _in_use(port)
    ]
    if taken:
        print("\n".join(taken), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    serve = [sys.executable, "-m", "jobs", "serve", "--port", str(asked.serve_port)]
    pages = [
        *(sys.executable, "-m", "streamlit", "run", str(APP)),
        *("--server.port", str(asked.port), "--server.address", LOOPBACK),
        *("--server.headless", "true"),
    ]
    environment = os.environ | {"CODELADDER_SERVE_URL": f"http://{LOOPBACK}:{asked.serve_port}"}
    print(f"Leaderboard: http://{LOOPBACK}:{asked.port}   (Ctrl-C stops it)")
    server = subprocess.Popen(serve)
    try:
        return subprocess.run(pages, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port; ports are 1 to 65535")
    return port


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m leaderboard", description=__doc__)
    parser.add_argument("--port", type=_port, default=8501, help="of the pages (%(default)s)")
    parser.add_argument(
        "--serve-port", type=_port, default=8377, help="of the try-it box's server (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
