"""The errors that a user can cause or fix, as a tree.

    StreamtagError
    ├── SpecError         settings that are invalid by themselves or together
    ├── SourceError       audio that cannot be read: missing, not audio, unreachable, broken
    ├── ModelFileError    a model file that is missing, damaged, or no model
    ├── DeviceError       a compute device that is missing
    ├── ManifestError     a training data set that does not fit its own description
    ├── OutputError       a result that cannot be written, an address that cannot be served
    ├── ProtocolError     an invalid message, or a server with another protocol
    └── CapacityError     one stream more than there is room for

Packages define further ones of their own. Every message is one line, starts with its subject, and says what to do
where that is known. The command line prints it and exits with 1, or with 2 for a SpecError: there it is a mistake on
the command line. Any other exception that escapes is a defect.
"""


class StreamtagError(Exception):
    """Base of every error that a user can cause or fix."""


class SpecError(StreamtagError, ValueError):
    """Settings that are invalid by themselves or together."""


class SourceError(StreamtagError):
    """Audio that cannot be opened, decoded or reached."""


class ModelFileError(StreamtagError):
    """A model file that is missing, damaged, or no streamtag model."""


class DeviceError(StreamtagError):
    """A requested compute device that is missing."""


class ManifestError(StreamtagError):
    """A training data set whose files do not fit their description."""


class OutputError(StreamtagError):
    """A result file that cannot be written, or an address that cannot be served."""


class ProtocolError(StreamtagError):
    """An invalid message, or a server that cannot be understood."""


class CapacityError(StreamtagError):
    """One stream more than there is room for."""
