"""Every stage of the chain beside what others would use for it, in one run."""
