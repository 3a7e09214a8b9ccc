"""The only modules that touch the machine: descriptors, ioctls, ptrace, clocks, identity."""
