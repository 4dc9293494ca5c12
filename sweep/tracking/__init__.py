"""A sweep in MLflow: `mirror` follows the record, `runs` writes it there, `ui` serves the comparison page."""
