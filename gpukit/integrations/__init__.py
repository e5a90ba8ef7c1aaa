"""gpukit inside other frameworks; each module needs its framework installed."""
