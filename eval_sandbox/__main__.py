"""The judge on the command line: `python -m eval_sandbox --help`."""

import sys

from eval_sandbox.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
