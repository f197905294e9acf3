"""The store of a simulated service: finished trials, the lease of a job, the request to cancel it, and how it ended."""

from dataclasses import dataclass, field

from jobs.store import LEASE_S


@dataclass
class Claim:
    """An owner of the lease, and when it took and last renewed it."""

    owner: int
    taken_s: float
    renewed_s: float


@dataclass
class SimulatedStore:
    """What several drivers share; the lease follows the rules of jobs.store.lease, by the store's own clock."""

    stored: dict[str, tuple[float, int]] = field(default_factory=dict)  # trial_id -> when first, and by which driver
    claims: list[Claim] = field(default_factory=list)  # the last one is the owner
    cancel_s: float | None = None  # when somebody asked for it
    end: tuple[str, int, float] | None = None  # state, author and time of final.json
    ends: int = 0  # how often that was written

    def commit(self, trial_ids: list[str], author: int, now_s: float) -> None:
        for trial_id in trial_ids:
            self.stored.setdefault(trial_id, (now_s, author))

    def last_owner(self, now_s: float, is_known_gone: bool) -> int | None:
        """Return the owner from whom a lease may be taken over, -1 where there was none, None where it is held."""
        if not self.claims:
            return -1
        last = self.claims[-1]
        return last.owner if is_known_gone or now_s - last.renewed_s >= LEASE_S else None

    def take(self, before: int, owner: int, now_s: float) -> bool:
        """Take the lease over from an owner; of several that try, one succeeds."""
        if before != (self.claims[-1].owner if self.claims else -1):
            return False
        self.claims.append(Claim(owner, now_s, now_s))
        return True

    def renew(self, owner: int, now_s: float) -> bool:
        """Renew a lease; return False where somebody else has taken it over."""
        if self.claims[-1].owner != owner:
            return False
        self.claims[-1].renewed_s = now_s
        return True

    def release(self, owner: int) -> None:
        """Say that an owner has given its job up."""
        if self.claims[-1].owner == owner:
            self.claims[-1].renewed_s = -LEASE_S

    def finish(self, state: str, author: int, now_s: float) -> None:
        """Write how the job ended, unless that is written."""
        if self.end is None:
            self.end = (state, author, now_s)
            self.ends += 1

    def change_s(self, owner: int) -> float | None:
        """Return when the lease was taken over from an owner."""
        owners = [claim.owner for claim in self.claims]
        after = owners.index(owner) + 1
        return self.claims[after].taken_s if after < len(self.claims) else None
