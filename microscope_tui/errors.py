"""What a user is told when something is wrong with what was asked for.

Everything the program expects to go wrong is raised as a `MicroscopeError`. Its text is one sentence
that names what was wrong and what to do; the command line prints it and exits with 2, the screen shows
it in place. Any other exception is a defect of ours.
"""


class MicroscopeError(Exception):
    """Something the user can mend; `str(error)` is the sentence to show."""


class BadExample(MicroscopeError):
    """One example cannot be used (corrupt picture, too long, …): it is skipped, counted and named."""

    def __init__(self, example: str, reason: str) -> None:
        super().__init__(f"{example}: {reason}")
        self.example = example
        self.reason = reason


class OutOfMemory(MicroscopeError):
    """A model or a batch did not fit into the device's memory: a smaller batch may."""


class Cancelled(MicroscopeError):
    """The user, or a signal, asked the work to stop."""


def lost_device(error: BaseException) -> bool:
    """Whether a GPU failed for the whole process: after such an error every further call fails as well.

    Told by name, so that who asks need not import torch. Running out of memory is not such an error.
    """
    text = str(error)
    return type(error).__name__ == "AcceleratorError" or ("CUDA error" in text and "out of memory" not in text)
