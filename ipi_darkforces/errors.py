"""The one kind of error that a user is meant to read.

Whatever is wrong with what a user gave (a name, a file, an option, a structure) is raised as a
`DarkforcesError` where it is noticed, with a message that says what was given and what was expected, in one line.
The commands print that line and exit with code 1; anything else that is raised is a bug and keeps its traceback.
"""


class DarkforcesError(Exception):
    """Something the user gave cannot be used; the message is one line that they can act on."""


def one_line(error: Exception) -> str:
    """What another library has to say, fit for a `DarkforcesError`."""
    return " ".join(str(error).split()) or type(error).__name__


# What an error line begins with, wherever it is printed; whoever watches a log looks for it.
ERROR = "darkforces: error: "
