"""STS tasks and their scores. Knows no torch; importing the package itself loads nothing.

The public names are imported from their modules:

- `evaluation.tasks`: `TASKS`, `Task`, `load_pairs`
- `evaluation.pairs`: `Pairs`
- `evaluation.protocol`: `Encoder`
- `evaluation.score`: `Score`, `score`
- `evaluation.lexical`: `LexicalEncoder`, `read_word_counts`
- `evaluation.tables`: `score_table`
- `evaluation.errors`: `InputError`
"""
