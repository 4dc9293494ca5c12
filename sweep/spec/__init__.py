"""What a sweep file says: read, checked, resolved; and what it asks of the world. Loads no torch, Ray or Optuna.

`sweep_spec` is the tree and `load_spec`; `sections` its branches; `yaml_file`, `overrides`, `places` and `fields`
read and settle it; `knobs`, `distribution`, `search`, `conditions`, `start_points`, `together`, `rules`,
`strategy_rules` and `misfits` know what is allowed; `space` turns the search into trials; `difference` compares two
specs; `check` looks at the world; `origin` says where a mistake was typed; `schema` is for editors.
"""
