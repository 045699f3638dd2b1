"""Show values and errors that may be long, or contain line breaks, on one line."""


def show(value: object, length: int = 80) -> str:
    """Show the start of a value on one line."""
    return one_line(repr(value), length)


def one_line(text: str, length: int) -> str:
    """Cut a text, and escape line breaks and other characters that cannot be printed."""
    cut = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


def message_of(error: BaseException) -> str:
    """Return the message of an error without line breaks, or the name of its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
