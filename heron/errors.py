"""One exception tree: each message says what was wrong, where, and what to do."""


class HeronError(Exception):
    """Anything Heron refuses or cannot do. The message is meant to be shown to a user as it is."""


class CheckpointError(HeronError):
    """A model file or folder is missing, damaged or hostile."""


class UnsupportedError(HeronError):
    """The input is well formed, but names something that this version cannot run."""


class TokenizerError(HeronError):
    """A tokenizer's data is missing, inconsistent or of an unknown kind."""


class RequestError(HeronError):
    """A request's parameters or input are wrong."""


class TemplateError(RequestError):
    """A chat template is invalid, ran too long, printed too much, or refused the conversation."""


class BackendError(HeronError):
    """A backend cannot be used here, or failed while it ran."""
