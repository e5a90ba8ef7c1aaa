"""What runs in the pod: a supervisor as pid 1, and under it the user's function. Stdlib only."""
