"""What Ctrl-C and SIGTERM do to ``python -m ntm``: one line and exit status 130, at any moment."""

import os
import signal
from types import FrameType
from typing import NoReturn


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def leave_at_once() -> None:
    """For the seconds of importing, in which an exception may come out of other packages as another one."""
    _handle(_leave)


def raise_interrupt() -> None:
    """For all that comes after: KeyboardInterrupt."""
    _handle(_interrupt)


def _handle(handler: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored by who started it, as nohup and shells do
            signal.signal(number, handler)  # type: ignore[arg-type]
