"""One thread a BLAS: several test processes on two cores would otherwise wait for one another's spinning threads."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
