"""What may be None where it is made, and is not where it is tested."""

from typing import TypeVar

T = TypeVar("T")


def sure(value: T | None) -> T:
    """The value, which a test fails without."""
    assert value is not None
    return value
