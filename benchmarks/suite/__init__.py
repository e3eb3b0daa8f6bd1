"""What asv times: one thread, float64, fixed seeds. Docs: docs/performance.md."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
