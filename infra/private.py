"""What is about people is for the account that runs Rapport alone: folders of 0700, files of 0600."""

import os

UMASK = 0o077


def keep_private() -> None:
    """Let this process and its children make files that nobody else can read; called where a process begins."""
    os.umask(UMASK)
