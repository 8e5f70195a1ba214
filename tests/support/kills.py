"""Sessions of real SB3 that are killed at random moments, and what must be true of what they leave."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckptsync.core import heads, sets
from ckptsync.core.findings import Severity
from ckptsync.core.layout import EVENTS_NAME, TrainingTree
from ckptsync.core.readers import read_model
from ckptsync.core.session import read_events
from ckptsync.core.sets import SetState
from ckptsync.sync.verify import verify_path

ALGORITHMS = ("ppo", "sac")
PHASES = ("learn", "evaluate", "step", "train", "save")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
# Beyond its interval a kill may cost the way to the next clean point, and what is trained while a save is written
INTERVAL = {"ppo": 512, "sac": 128}
BEYOND = {"ppo": 2 * 128, "sac": 100}
# (entries into the phase, seconds behind the entry) among which the moment of a kill is drawn
_MOMENTS = {"learn": (300, 0.05), "evaluate": (200, 0.02), "step": (400, 0.02), "train": (6, 0.03), "save": (4, 0.03)}
# A phase that lasts: a signal comes in its midst, and training does not come back in time
_STUCK = {"evaluate": 60.0, "step": 60.0, "train": 60.0}
_LASTS = {"evaluate": 0.5, "step": 0.5, "train": 0.5}
_LONGEST_END_SECONDS = 20.0


@dataclass(frozen=True)
class Kill:
    """One kill.

    Args:
        algorithm: `ppo` or `sac`.
        phase: where.
        signal: which.
        entry: at which entry into the phase.
        delay: seconds behind that entry.
        stuck: seconds that the phase lasts; 0: as long as it does.
        again: seconds until the same signal comes once more; 0: it does not.
    """

    algorithm: str
    phase: str
    signal: int
    entry: int
    delay: float
    stuck: float
    again: float

    def __str__(self) -> str:
        name = signal.Signals(self.signal).name
        again = f", again after {self.again:.2f} s" if self.again else ""
        stuck = f" of {self.stuck:g} s" if self.stuck else ""
        return f"{self.algorithm}: {name} {self.delay * 1000:.0f} ms into {self.phase}{stuck} no. {self.entry}{again}"


@dataclass(frozen=True)
class End:
    """How a killed session ended.

    Args:
        came: its moment came before it ended.
        exit_code: of the process; minus the number of the signal that killed it.
        seconds: from the last signal to its end.
        num_timesteps: N when the signal was sent; with SIGKILL when it died.
        clean: the last clean point then.
        kept: the kept clean point then.
        before: N of the last but one save that was begun; it must be sealed.
    """

    came: bool
    exit_code: int
    seconds: float
    num_timesteps: int
    clean: int
    kept: int
    before: int


def draw(seed: int, algorithm: str, count: int, *, stuck_every: int) -> Iterator[Kill]:
    """Draw kills that go through all phases.

    Args:
        seed: equal seeds give equal kills.
        algorithm: of all of them.
        count: how many.
        stuck_every: every so many kills one comes where training does not come back by itself.
    """
    chance = random.Random(f"{seed} {algorithm}")
    for number in range(count):
        phase = PHASES[number % len(PHASES)]
        killed_by = chance.choice(SIGNALS)
        stuck = 0.0
        entries, delay = _MOMENTS[phase]
        if phase in _STUCK:
            hard = number % stuck_every == stuck_every - 1 and killed_by != signal.SIGKILL
            stuck = _STUCK[phase] if hard else _LASTS[phase]
            delay = _LASTS[phase]
        again = chance.choice((0.0, 0.0, 0.1, 1.3)) if killed_by != signal.SIGKILL else 0.0
        yield Kill(algorithm, phase, killed_by, chance.randint(1, entries), chance.uniform(0, delay), stuck, again)


class Server:
    """The process that forks and kills.

    Args:
        process: the running `kill_server`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kill(self, folder: Path, kill: Kill) -> End:
        """Run a session in a folder and kill it."""
        return self._ask({**asdict(kill), "folder": str(folder), "stop_after": None})

    def go_on(self, folder: Path, algorithm: str, steps: int) -> End:
        """Run a session that ends by itself."""
        request = {"algorithm": algorithm, "phase": "", "signal": 0, "entry": 0, "delay": 0, "stuck": 0, "again": 0}
        return self._ask({**request, "folder": str(folder), "stop_after": steps})

    def _ask(self, request: dict[str, Any]) -> End:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the server has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server ended with {self._process.wait()}")
        return End(**json.loads(answer))


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and end it."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CKPTSYNC_")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        yield Server(process)


class Chain:
    """Sessions of one algorithm that are killed one after another; each goes on from what the one before left.

    Args:
        server: runs them.
        algorithm: `ppo` or `sac`.
        folder: where they run.
    """

    def __init__(self, server: Server, algorithm: str, folder: Path) -> None:
        self._server = server
        self._algorithm = algorithm
        self._folder = folder
        self._tree = TrainingTree(folder / "tree")
        self.reached = 0
        self.lost: list[int] = []

    def kill(self, kill: Kill) -> None:
        """Kill once and judge what is left."""
        end = self._server.kill(self._folder, kill)
        try:
            assert end.came, f"it ended with {end.exit_code} before its moment came"
            self._check_end(kill, end)
            self._check_start()
            sealed = self._check_tree()
            self._check_loss(kill, end, sealed)
        except AssertionError as error:
            log = (self._folder / "log.txt").read_text(errors="replace").splitlines()[-12:]
            raise AssertionError("\n".join([f"{kill}: {error}", str(end), *log])) from error
        self.lost.append(max(0, end.num_timesteps - sealed))
        self.reached = sealed

    def finish(self) -> None:
        """Run a last session to an end of its own."""
        end = self._server.go_on(self._folder, self._algorithm, 200)
        assert end.exit_code == 0
        self._check_start()
        assert self._check_tree() > self.reached

    def _check_end(self, kill: Kill, end: End) -> None:
        expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
        assert end.exit_code == expected[signal.Signals(kill.signal)]
        assert end.seconds < _LONGEST_END_SECONDS

    def _check_start(self) -> None:
        """The session went on exactly from where the one before was sealed."""
        starts = [e for e in read_events(self._folder / EVENTS_NAME) if e["event"] == "start"]
        assert [start["num_timesteps"] for start in starts] == [self.reached]
        if self.reached:
            assert starts[0]["fidelity"] == {"resumed": "exact", "reasons": []}, starts[0]["fidelity"]

    def _check_tree(self) -> int:
        """Every set that looks good is good, nothing else is called so; return N of what a session starts from."""
        folder = self._tree.checkpoints
        stored = sets.scan(folder)
        assert {found.state for found in stored} <= {SetState.SEALED, SetState.TORN}
        sealed = [found for found in stored if found.state is SetState.SEALED]
        if not sealed:
            assert self.reached == 0
            return 0
        for found in sealed:
            assert found.manifest is not None
            assert sets.check_files(folder, found.manifest) == ()
            report = read_model(found.model_path)
            assert [finding for finding in report.findings if finding.severity is Severity.BLOCKER] == []
        judged = verify_path(self._tree.root)
        assert judged.exit_code == 0
        good = {Path(one.path).name for one in judged.checkpoints if one.verdict is not None and one.verdict.good}
        assert good == {found.model_path.name for found in sealed}
        start = heads.standing(self._tree, stored, self._algorithm).candidates[0].num_timesteps
        # A kill between a seal and the head that names it leaves one set that was never said to be saved
        assert sum(found.num_timesteps > start for found in sealed) <= 1
        return start

    def _check_loss(self, kill: Kill, end: End, sealed: int) -> None:
        if kill.signal != signal.SIGKILL:
            assert sealed >= max(end.kept, self.reached), "less was sealed than the kept clean point"
            return
        assert sealed >= max(end.before, self.reached), "a save that was over is not there"
        lost = end.num_timesteps - sealed
        assert lost <= INTERVAL[self._algorithm] + BEYOND[self._algorithm], f"{lost} steps were lost"
