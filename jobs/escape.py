"""Text from elsewhere, made safe to show: it cannot command a terminal, reorder a line or break XML."""

import unicodedata

# Control, format (right-to-left marks too), surrogate, private, unassigned; line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str, keep: str = "") -> str:
    """Write every character that cannot be seen as its escape, such as \\x1b; those in `keep` stay."""
    return "".join(_escape_sequence(c) if c not in keep and unicodedata.category(c) in _UNSEEN else c for c in text)


def _escape_sequence(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
