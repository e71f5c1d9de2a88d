"""What can go wrong for a user, as a tree.

    StreamtagError
    ├── SpecError         settings that make no sense together
    ├── SourceError       a sound that cannot be read: missing, not audio, unreachable, broken
    ├── ModelFileError    a model file that is missing, damaged, or no model
    ├── DeviceError       a compute device that is not there
    ├── ManifestError     a training data set that does not fit its own description
    ├── OutputError       a result that cannot be written, an address that cannot be served
    ├── ProtocolError     a message that is none, or a server that speaks another protocol
    ├── CapacityError     one stream more than there is room for; Busy, of a server that may have room later
    ├── NameTaken         a stream of that name is here already
    └── UnknownStream     there is no stream of that name

Every message is one line, starts with what it is about, and says what to do where that is known.
The command line prints it and exits with 1; anything else that escapes is a defect.
"""


class StreamtagError(Exception):
    """Base of every error that a user can cause or mend."""


class SpecError(StreamtagError, ValueError):
    """Settings that make no sense by themselves or together."""


class SourceError(StreamtagError):
    """A sound that cannot be opened, decoded or reached."""


class ModelFileError(StreamtagError):
    """A model file that is missing, damaged, or no streamtag model."""


class DeviceError(StreamtagError):
    """A compute device that was asked for and is not there."""


class ManifestError(StreamtagError):
    """A training data set whose files do not fit their description."""


class OutputError(StreamtagError):
    """A result file that cannot be written, or an address that cannot be served."""


class ProtocolError(StreamtagError):
    """A message that is none, or a server that cannot be understood."""


class CapacityError(StreamtagError):
    """One stream more than there is room for."""
