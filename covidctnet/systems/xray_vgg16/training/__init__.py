"""How the network learns: the head of a cut body, or all of a whole one."""
