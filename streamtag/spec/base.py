"""What all settings have in common: they are checked when they are created, and survive a round trip through JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Self

from streamtag.errors import SpecError


@dataclass(frozen=True)
class Spec:
    """Numbers and words that survive a round trip through JSON."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Raises SpecError if a field is missing, unknown or of another type."""
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)
            raise SpecError(f"{cls.__name__}: missing or unknown fields: {', '.join(wrong)}")
        return cls(**values)

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise SpecError(f"{type(self).__name__}: {message}")

    def _check_integers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            self._check(whole, f"{name} must be a positive whole number, not {value!r}")

    def _check_seconds(self, *may_be_zero: str) -> None:
        """Check every field whose name ends in `_s`."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_s"):
                ok = is_finite(value) and (value > 0 or (value == 0 and field.name in may_be_zero))
                self._check(ok, f"{field.name} must be a number of seconds above 0, not {value!r}")


def is_finite(value: object) -> bool:
    """Return whether it is a number, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
