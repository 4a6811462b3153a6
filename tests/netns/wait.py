"""Waiting for a state instead of for time to pass."""
import time


def until(condition, timeout=10, what="the condition"):
    """Returns condition()'s first true value; fails the test after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for {what() if callable(what) else what}")
        time.sleep(0.01)


def until_still(read, still=0.4, timeout=20):
    """Returns read()'s value once it has not changed for `still` seconds."""
    end = time.monotonic() + timeout
    value, since = read(), time.monotonic()
    while time.monotonic() - since < still:
        if time.monotonic() > end:
            raise AssertionError(f"still changing after {timeout} s: {value}")
        time.sleep(0.02)
        if read() != value:
            value, since = read(), time.monotonic()
    return value
