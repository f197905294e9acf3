"""Make untrusted text safe to show in a terminal and in XML."""

import unicodedata

# Control, format (such as right-to-left marks), surrogate, private, unassigned; line and paragraph separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str, keep: str = "") -> str:
    """Replace invisible characters by their escape sequences, such as \\x1b.

    The result cannot control a terminal, reorder a line or break XML.

    Args:
        text: Any text, such as a file name, a grid or a traceback.
        keep: Characters that stay as they are, such as a newline.
    """
    if text.isprintable():  # nearly every text is
        return text
    return "".join(_escape_sequence(c) if c not in keep and unicodedata.category(c) in _INVISIBLE else c for c in text)


def _escape_sequence(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
