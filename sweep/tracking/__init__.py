"""A sweep in MLflow: `mirror` follows the record, `runs` is a trial there, `ui` serves the comparison page."""
