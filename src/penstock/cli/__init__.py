"""The command line: `main` is the console script, and each verb has a module of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb has run; the exit code says how it ended.

    Shape: 0 done, 1 failed, 2 usage or file wrong, 3 done but a promise does not hold, 130 stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        from penstock import __version__

        print(f"penstock {__version__}")
        return 0
    from penstock.cli.failures import explain, stopped, unexpected
    from penstock.errors import PenstockError

    try:
        from penstock.cli.root import dispatch

        return dispatch(words)
    except PenstockError as error:
        return explain(error, words)
    except KeyboardInterrupt:
        return stopped()
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001
        return unexpected(error, words)
