"""One exception tree: each message says what was wrong, where, and what to do."""


class HeronError(Exception):
    """Anything Heron refuses or cannot do. The message is meant to be shown to a user as it is."""


class ConfigError(HeronError):
    """A setting is unknown, or has a value that it cannot have; the message names the file and the line, or the variable."""


class CheckpointError(HeronError):
    """A model file or folder is missing, damaged or hostile."""


class HubError(HeronError):
    """A model is not on the hub, may not be had from it, or did not arrive whole."""


class UnsupportedError(HeronError):
    """The input is well formed, but names something that this version cannot run."""


class TokenizerError(HeronError):
    """A tokenizer's data is missing, inconsistent or of an unknown kind."""


class RequestError(HeronError):
    """A request's parameters or input are wrong; ``param`` names the parameter, where it is one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NoRoom(RequestError):
    """What is asked for takes more memory than there is."""


class QueueFull(RequestError):
    """Too many requests wait already; ``retry_after`` seconds from now there may be room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestTimeout(RequestError):
    """A request was not answered in the time that it was given."""


class EngineClosed(RequestError):
    """The engine was closed before a request was answered."""


class TemplateError(RequestError):
    """A chat template is invalid, ran too long, printed too much, or refused the conversation."""


class BackendError(HeronError):
    """A backend cannot be used here, or failed while it ran."""


class DeviceFull(BackendError):
    """A device has not the memory that a model, its cache or a step takes."""
