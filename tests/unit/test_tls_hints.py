"""What is told of an error that lies below another one."""

from __future__ import annotations

import ssl

from taketurns import tls


def test_an_error_that_has_caused_the_one_during_which_it_came_again_ends_the_search() -> None:
    """As when a connection is tried again while its first failure is handled, and fails by the same error."""
    first, second = OSError("reset"), OSError("away")
    first.__context__, second.__cause__ = second, first
    assert tls.hint(first) == ""


def test_what_tls_says_is_found_below_many_errors() -> None:
    top: BaseException = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    top.reason = "WRONG_VERSION_NUMBER"  # type: ignore[attr-defined]
    for number in range(3000):  # more than Python calls itself
        above = OSError(number)
        above.__cause__ = above.__context__ = top
        top = above
    assert tls.hint(top) == "the server speaks no TLS on this port"
