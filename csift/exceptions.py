"""One root for every error csift raises on purpose.

A message says what happened, where, and what to do about it; the command line prints it as one line. All are picklable, because
they cross process boundaries inside Prefect.
"""


class CsiftError(Exception):
    """Root of csift's errors. `str(error)` is complete on its own: what happened, where, and what to do."""


class ConfigError(CsiftError):
    """A configuration file or a setting is unknown, impossible or unreadable."""


class CorpusError(CsiftError):
    """A corpus folder or one of its files cannot be used."""


class LabelError(CsiftError):
    """A labelled question cannot be used: unknown document, duplicate id, or too few of them."""


class DatabaseError(CsiftError):
    """Postgres cannot be reached or is not the database that csift expects."""


class ModelError(CsiftError):
    """A model cannot be resolved or loaded, or does not fit the adapter."""


class StorageError(CsiftError):
    """An artifact cannot be written or read whole."""


class TrainingError(CsiftError):
    """Training cannot start or cannot go on."""


class GateError(CsiftError):
    """The gate lacks what it needs to decide, or a promotion lost its race."""


class ServiceError(CsiftError):
    """The Prefect server or worker did not start, or ended by itself."""


class CycleRunning(CsiftError):
    """Another cycle of this project holds the lease."""


class TeacherError(CsiftError):
    """A model service refuses the key, does not know the model, or stays away for longer than is waited for."""


class BudgetExhausted(CsiftError):
    """The cycle has spent what it may spend; what was answered is booked and is not paid for again."""
