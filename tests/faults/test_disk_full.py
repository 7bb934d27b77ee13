"""The disk is full: the step is one that may be tried again, the old night is served, and the next try completes it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.fork_server import TRANSIENT
from tests.faults.two_nights import NEXT, fork_server, resettable_companies

BLOCK = 4096
DISK = 8 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder a disk of 8 MB of its own, where this process may; say whether it is one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, room: int) -> Path:
    """Fill a disk but for some bytes; return the file to delete."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as out:
            while out.write(bytes(BLOCK)):
                pass
    except OSError:
        ballast.open("r+b").truncate(max(ballast.stat().st_size - room, 0))
    return ballast


@pytest.mark.row("F10")
@pytest.mark.assure
def test_on_a_full_disk_the_old_night_is_served_and_the_next_try_completes_it(tmp_path: Path) -> None:
    """The more room there is, the later a step runs out of it: in a data file, in the log, in the registry."""
    failed = 0
    with (
        small_disk(tmp_path / "0" / "state") as mounted,
        resettable_companies(tmp_path, 1) as (company,),
        fork_server(company.ws) as children,
    ):
        for blocks in (0, 1, 2, 4, 8):
            company.reset()
            if mounted:
                ballast = fill(company.ws.settings.home, blocks * BLOCK)
                code, _ = children.run("both", NEXT)
                ballast.unlink()
            else:
                code, _ = children.run("both", NEXT, largest=40 + blocks * BLOCK // 4)
            assert code in (0, TRANSIENT)
            failed += code == TRANSIENT
            company.check()
            assert company.online().keys() == company.online_before.keys()
            assert children.run("both", NEXT)[0] == 0
            company.check_done()
    assert failed >= 2
