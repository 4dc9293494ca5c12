"""A root at a URI: the record's copy in an object store, who may write there, and what each process has of it here."""
