"""Tasks, scores, how sure and how clean they are. Knows no torch; importing the package itself loads nothing.

The public names are imported from their modules:

- `evaluation.tasks`: `TASKS`, `AVERAGES`, `Task`, `load_pairs`; `evaluation.pairs`: `Pairs`
- `evaluation.protocol`: `Encoder`, `EncodeFunction`
- `evaluation.score`: `Score`, `score`, `score_embeddings`, `distinct_sentences`
- `evaluation.transfer`: `TRANSFER`, `load_labelled`; `evaluation.labelled`: `Labelled`
- `evaluation.probe`: `TransferScore`, `probe`, `probe_embeddings`, `distinct_texts`
- `evaluation.clusters`: `Items`
- `evaluation.bootstrap`: `Sample`, `Interval`, `intervals`, `spearman_of`, `accuracy_of`
- `evaluation.compare`: `Difference`, `differences`, `holm`
- `evaluation.geometry`: `alignment`, `uniformity`, `spread`
- `evaluation.leaks`: `Texts`, `Overlap`, `shared`, `leaked`
- `evaluation.lexical`: `LexicalEncoder`, `read_word_counts`
- `evaluation.tables`: `score_table`
- `evaluation.errors`: `InputError`
"""
