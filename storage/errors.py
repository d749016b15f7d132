"""What can go wrong with the log, sorted by what the caller can do.

LogError
├── ContentionError      nothing was written; try again
├── UnavailableError     nothing was written (or read); the store fails; try again later
│   └── RefusedPathError nothing was written (or read); the store takes no keys of this path; use a shorter one
├── AmbiguousWriteError  it may have been written; read before trying again, or retry as the same producer
└── DamageError          an object is not what this log writes; retrying does not help
"""


class LogError(Exception):
    """Base of everything that is not a foreseen answer."""


class ContentionError(LogError):
    """Other writers were faster as often as one is ready to lose. Nothing was written."""


class UnavailableError(LogError):
    """The store did not do what was asked, and certainly wrote nothing."""


class RefusedPathError(UnavailableError):
    """The store takes no keys as long as this path's, though others would."""


class AmbiguousWriteError(LogError):
    """The fate of a write stayed unknown: it may have happened, or happen later."""


class DamageError(LogError):
    """An object in the bucket is not what this log writes there; the text names it."""
