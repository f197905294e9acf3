"""Text from outside, made safe to print: it cannot control a terminal, reorder a line or break XML."""

import unicodedata

# Control, format (right-to-left marks too), surrogate, private, unassigned; line and paragraph separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str, keep: str = "") -> str:
    """Replace every invisible character, other than those in `keep`, by its escape, such as \\x1b."""
    return "".join(
        _escape_character(character)
        if character not in keep and unicodedata.category(character) in _INVISIBLE
        else character
        for character in text
    )


def _escape_character(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
