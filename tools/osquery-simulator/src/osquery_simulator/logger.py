"""The logger thread: lines wait on disk until the server has taken them, as osqueryd judges it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from osquery_simulator.account import AcceptedIds
from osquery_simulator.disk import KINDS
from osquery_simulator.remote import Remote
from osquery_simulator.result_lines import WARNING, StatusText, decorated, status_line
from osquery_simulator.script import Script
from osquery_simulator.signals import Beat

THREAD = "logger"


@dataclass
class Logger:
    """The buffer of one host and its forwarder."""

    remote: Remote
    host_identifier: str
    account: AcceptedIds
    script: Script
    decorations: Callable[[], dict[str, str]]
    beat: Beat = field(init=False)
    _said: list[StatusText] = field(default_factory=list)
    _failures: dict[str, int] = field(default_factory=dict)
    _rounds_to_skip: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.beat = Beat(self.remote.clock)

    def add_result(self, make: Callable[[str], str]) -> None:
        """Buffer a result line; `make` gets the id that the line shall carry, or an empty text."""
        self._add("result", make)

    def say(self, severity: int, filename: str, line: int, message: str) -> None:
        """Say something in osqueryd's own log; it becomes a line at the next `relay`."""
        self._said.append(StatusText(severity, filename, line, message, int(self.remote.clock.unix())))

    def relay(self) -> None:
        """Buffer a line for all that was said. Observed: the decorations are those of now, the time is the word's."""
        said, self._said = self._said, []
        flags = self.remote.flags
        top = flags.switch("decorations_top_level")
        for text in said:
            if text.severity < flags.number("logger_min_status") or flags.switch("tls_disable_status_log"):
                continue
            self._add(
                "status",
                lambda line_id, text=text: status_line(  # type: ignore[misc]
                    self.host_identifier, text, decorated(self.decorations(), line_id, is_top_level=top)
                ),
            )

    def _add(self, kind: str, make: Callable[[str], str]) -> None:
        disk = self.remote.disk
        disk.last_line += 1
        line = make(self.line_id(disk.last_line) if self.remote.settings.numbers_lines else "")
        disk.lines[kind][f"tls_{kind[0]}_{int(self.remote.clock.unix())}_{disk.last_line}"] = line
        disk.counts[kind].produced += 1
        self.remote.is_dirty = True

    def line_id(self, number: int) -> str:
        """Name a line for ever: the host and a number that never goes back."""
        return f"{self.host_identifier}/{number}"

    async def run(self) -> None:
        """Forward, purge, rest, for ever."""
        while True:
            await self.round()
            self._purge()
            await self.beat.rest(self._period())

    def _period(self) -> int:
        return max(1, self.remote.flags.number("logger_tls_period"))

    async def round(self) -> None:
        """Take the oldest lines, results first, and send each kind in a request of its own."""
        self.relay()
        limit = max(1, self.remote.flags.number("logger_tls_max_lines"))
        taken: dict[str, list[str]] = {}
        for kind in KINDS:
            # By key, as text: inside one second that is not the order in which the lines came.
            taken[kind] = sorted(self.remote.disk.lines[kind])[:limit]
            limit -= len(taken[kind])
        for kind in KINDS:
            if self._rounds_to_skip.get(kind, 0) > 0:
                self._rounds_to_skip[kind] -= 1
            elif taken[kind]:
                await self._forward(kind, taken[kind])

    async def _forward(self, kind: str, keys: list[str]) -> None:
        lines = self.remote.disk.lines[kind]
        longest = self.remote.flags.number("logger_tls_max_linesize")
        sizes = {key: len(lines[key].encode("utf-8", "replace")) for key in keys}
        sent = [key for key in keys if sizes[key] <= longest]
        oversized = [key for key in keys if sizes[key] > longest]
        for key in oversized:
            self.say(WARNING, "tls_logger.cpp", 140, f"Linesize exceeds TLS logger maximum: {sizes[key]}")
        texts = [lines[key] for key in sent]
        verdict = await self.remote.send_lines(THREAD, kind, texts)
        while verdict.is_success and self.script.logs_to_repeat > 0:
            self.script.logs_to_repeat -= 1
            await self.remote.send_lines(THREAD, kind, texts)
        if verdict.is_success:
            self._failures[kind] = 0
            self._settle(kind, sent, oversized)
        else:
            self._back_off(kind)

    def _settle(self, kind: str, accepted: list[str], oversized: list[str]) -> None:
        disk = self.remote.disk
        self.account.add(kind, (self.line_id(int(key.rsplit("_", 1)[1])) for key in accepted))
        disk.counts[kind].accepted += len(accepted)
        for key in accepted:
            del disk.lines[kind][key]
        self._drop(kind, oversized)
        self.remote.changed.fire()

    def _drop(self, kind: str, keys: Iterable[str]) -> None:
        for key in keys:
            del self.remote.disk.lines[kind][key]
            self.remote.disk.counts[kind].dropped += 1
        self.remote.is_dirty = True

    def _back_off(self, kind: str) -> None:
        """Wait n² periods after n failures in a row, for this kind only."""
        longest = self.remote.flags.number("logger_tls_backoff_max")
        if longest <= 0:
            return
        self._failures[kind] = failures = self._failures.get(kind, 0) + 1
        self._rounds_to_skip[kind] = min(failures * failures, longest // self._period()) - 1

    def _purge(self) -> None:
        """Lose the oldest lines beyond the limit."""
        limit = self.remote.flags.number("buffered_log_max")
        if limit <= 0:
            return
        waiting = {kind: self.remote.disk.waiting(kind) for kind in KINDS}
        surplus = sum(waiting.values()) - limit
        for kind in KINDS:
            if surplus > 0:
                oldest = sorted(self.remote.disk.lines[kind])[:surplus]
                self._drop(kind, oldest)
                surplus -= len(oldest)

    def forget(self) -> None:
        """Lose what was only in memory: the back-off, and what was said and is no line yet."""
        self._said.clear()
        self._failures.clear()
        self._rounds_to_skip.clear()
