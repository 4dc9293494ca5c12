"""What a sweep file says: read, checked, resolved; and what it asks of the world. Loads no torch, Ray or Optuna.

`sweep_spec` is the tree and `load_spec`; `yaml_file`, `overrides`, `places` and `fields` read and settle it; `knobs`,
`search`, `rules` and `misfits` know what is allowed; `space` turns the search into trials; `check` looks at the world;
`origin` says where a mistake was typed.
"""
