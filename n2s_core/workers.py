"""Who seals the batches of a push: `[workers]` of the configuration."""

from dataclasses import dataclass

from n2s_core.clock import SECOND_NS, parse_age
from n2s_core.errors import ConfigError, UsageError

PROCESSES = "processes"
DASK = "dask"


@dataclass(frozen=True, slots=True)
class WorkersTable:
    """`[workers]`: how many processes seal; 0 means one per processor, 8 at most.

    With `executor = "dask"` those of `n2s worker` on other machines do, which the `scheduler` (a
    tcp:// or tls:// address) knows. One that says nothing for `patience` is given up; without any
    for so long the push ends, or with `fallback` this machine seals. So many `readers_per_device`
    read one disk of a machine at a time; 0 is no limit.
    """

    count: int = 0
    executor: str = PROCESSES
    scheduler: str = ""
    patience: str = "60s"
    fallback: bool = False
    readers_per_device: int = 0
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def patience_s(self) -> float:
        """`patience` in seconds. Raises ConfigError."""
        try:
            found = parse_age(self.patience) / SECOND_NS
        except UsageError as error:
            message = f"[workers] patience: {error}"
            raise ConfigError(message) from error
        if not found:
            message = "[workers] patience must be at least 1s."
            raise ConfigError(message)
        return found

    def problem(self) -> str:
        """What cannot be used, in words; empty when all can."""
        scheme = self.scheduler.partition("://")[0]
        tls = (self.tls_ca, self.tls_cert, self.tls_key)
        wrong = {
            f'executor is "{PROCESSES}" or "{DASK}".': self.executor not in (PROCESSES, DASK),
            'scheduler is missing, such as "tcp://192.168.1.5:8786".': (
                self.executor == DASK and not self.scheduler
            ),
            "scheduler begins with tcp:// or tls://.": self.scheduler
            and scheme not in ("tcp", "tls"),
            "readers_per_device must not be negative.": self.readers_per_device < 0,
            "tls_ca, tls_cert and tls_key belong together.": any(tls) and not all(tls),
            "tls_ca, tls_cert and tls_key are for a scheduler at tls://.": (
                self.scheduler and any(tls) != (scheme == "tls")
            ),
        }
        found = next((f"[workers] {why}" for why, is_so in wrong.items() if is_so), "")
        try:
            _ = self.patience_s
        except ConfigError as error:
            return found or str(error)
        return found
