# SPDX-License-Identifier: MIT
"""Which process this is, without a system call for each command."""

import os

pid = os.getpid()


def _forked() -> None:
    global pid
    pid = os.getpid()


os.register_at_fork(after_in_child=_forked)
