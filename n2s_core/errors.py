"""The errors of n2s: who must act decides the class.

N2sError
|-- UsageError            the user asked for something that does not exist or fit (exit 2)
|   `-- ConfigError       a configuration that cannot be used
|-- KeyProblem            no passphrase, a wrong one, a damaged key object (exit 2)
|-- DiscoveryError        a plugin cannot tell what changed here (exit 2)
|-- MassRemoval           most of a dataset is gone, which is seldom meant (exit 2)
|-- LeaseHeld             another push of this dataset is running (exit 2)
|-- CatalogueError        the catalogue cannot be read or written (exit 2)
|   |-- CatalogueBusy     another program writes into it all the time
|   |-- Unfit             it is whole, and of another version, or was moved elsewhere
|   |   `-- Outgrown      it is of an older version, and can be upgraded
|   `-- Outdated          a prune removed meanwhile what was to be referred to
|-- WorkersError          workers of other machines, or their scheduler (exit 2)
|   `-- Unsealed          a worker went away with its batch; another one seals it
|-- StoreError            the store; never blames a source file
|   |-- Missing           the object is not there
|   |-- Refused           asking again will not help: credentials, quota, no such bucket, full
|   `-- Unavailable       asking again later may help
|-- DamageError           bytes that are not what was stored (exit 3)
|   `-- FormatError       bytes of another version, or of no version at all
|-- SourceError           one path of the source; never ends a run
`-- TargetError           one path of a restore; never ends a run
"""


class N2sError(Exception):
    """Anything that n2s says on purpose; its text is a sentence for the user."""

    exit_code = 2


class UsageError(N2sError):
    """The user asked for something that does not exist or does not fit."""


class ConfigError(UsageError):
    """A configuration that cannot be used; the text names the file and the key."""


class KeyProblem(N2sError):
    """The master key could not be had."""


class DiscoveryError(N2sError):
    """A discovery plugin cannot work here; the text says why and what to do."""


class MassRemoval(N2sError):
    """Most of a dataset is gone; the text says how to push all the same."""


class LeaseHeld(N2sError):
    """Another process holds the lease of the dataset, or took it from us."""


class CatalogueError(N2sError):
    """The catalogue cannot be read or written."""


class CatalogueBusy(CatalogueError):
    """Another program has been writing into the catalogue all the time that was waited."""


class Unfit(CatalogueError):
    """The catalogue is whole, but this n2s must not use it: of another version, or moved."""


class Outgrown(Unfit):
    """The catalogue is of an older version than this n2s uses; it can be upgraded."""


class Outdated(CatalogueError):
    """What was sealed refers to an object that a prune removed meanwhile; it is sealed again."""


class WorkersError(N2sError):
    """Workers on other machines, or the scheduler between, cannot be used."""


class Unsealed(WorkersError):
    """A batch was not sealed because of its worker; the batch is not to blame."""


class StoreError(N2sError):
    """Something about the store; source files are not to blame."""


class Missing(StoreError):
    """The object is not in the store."""


class Refused(StoreError):
    """The store will never accept this call as it is."""


class Unavailable(StoreError):
    """The store cannot answer now; the same call may succeed later."""


class DamageError(N2sError):
    """Bytes that are not what was stored."""

    exit_code = 3


class FormatError(DamageError):
    """Bytes that this version cannot read at all."""


class SourceError(N2sError):
    """One path of the source could not be stored."""


class TargetError(N2sError):
    """One path could not be restored."""
