"""Programs that do the same work on the same server, each in a process of its own and in the way its library has it."""
