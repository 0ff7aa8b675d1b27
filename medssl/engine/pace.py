"""How fast a run goes, in the words of its console line: images per second, waiting for data, memory, time left."""

from __future__ import annotations

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Pace:
    """Sums what steps cost since the last line; `batch` is the samples of a step, over all devices."""

    def __init__(self, steps: int, batch: int) -> None:
        self.steps, self.batch = steps, batch
        self.seconds = self.waited = self._before = 0.0
        self.seen = 0

    def see(self, record: dict[str, float]) -> dict[str, float]:
        """Take the record of one step, with its `time` and `data_wait` in seconds; returns it."""
        self.seen += 1
        self.seconds += record["time"]
        self.waited += record["data_wait"]
        return record

    @property
    def step_seconds(self) -> float:
        """Mean seconds of a step since the last line, or until then; 0 before the first step."""
        return self.seconds / self.seen if self.seen else self._before

    def words(self, step: int, memory: float | None) -> str:
        """After step `step`; `memory` in MiB. What is said counts from the last time on."""
        if not self.seconds:
            return ""
        said = [
            f"{self.seen * self.batch / self.seconds:.3g} images/s",
            f"waiting for data {self.waited / self.seconds:.0%}",
            *([] if memory is None else [f"{memory / 1024:.1f} GiB"]),
            *([f"{duration(self.step_seconds * (self.steps - step))} left"] if step < self.steps else []),
        ]
        self._before = self.step_seconds
        self.seconds, self.waited, self.seen = 0.0, 0.0, 0
        return ", ".join(said)


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> duration(42.4), duration(150), duration(7201), duration(200000)
    ('42 s', '2 min 30 s', '2 h', '2 d 7 h')
    """
    left = round(seconds)
    parts = []
    for size, unit in UNITS:
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((i for i, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
