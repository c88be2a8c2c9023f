"""Tags as people write them, and the filter by tags."""

from __future__ import annotations

import pytest

from taketurns.errors import InvalidInput
from taketurns.registry.metadata import read_metadata
from taketurns.registry.tags import has_tags, read_tags


def test_tags_are_written_as_key_and_value() -> None:
    """The first = ends the key; the value may hold more of them, and spaces."""
    assert read_tags(["plan=pro", "note=a = b"]) == {"plan": "pro", "note": "a = b"}
    assert read_tags([]) == {}


@pytest.mark.parametrize("text", ["plan", "", "=pro", "plan=", "-a=b", "a b=c", "plan=" + "x" * 257])
def test_a_malformed_tag_is_told(text: str) -> None:
    """What is no key=value is refused, in the name of the field that it came in."""
    for field in ("tag", "--tag"):
        with pytest.raises(InvalidInput) as caught:
            read_tags(["good=1", text], field=field)
        assert caught.value.field == field


def test_a_key_is_given_once() -> None:
    """Two values for one key are a mistake: no tenant has both."""
    with pytest.raises(
        InvalidInput, match=r"^tag: 'plan=free' .* each key once, and 'plan' was given already"
    ):
        read_tags(["plan=pro", "plan=free"])


def test_all_wanted_tags_must_be_there() -> None:
    """A tenant is found by any part of its tags, and not if one is missing or has another value."""
    tags = {"plan": "pro", "region": "eu"}
    assert has_tags(tags, {})
    assert has_tags(tags, {"plan": "pro"})
    assert has_tags(tags, tags)
    assert not has_tags(tags, {"plan": "pro", "region": "us"})
    assert not has_tags(tags, {"plan": "pro", "size": "big"})


def test_metadata_is_written_as_json() -> None:
    """A JSON object is read; anything else, or no JSON at all, is told in the field's name."""
    assert read_metadata('{"a": [1, null]}') == {"a": [1, None]}
    for text in ("", "{", "[1]", "1", '{"a": NaN}', "[" * 100_000):
        with pytest.raises(InvalidInput, match=r"^metadata: "):
            read_metadata(text)
