"""csift keeps a domain question-answering model good while its world changes; this package is the library, without Prefect."""
