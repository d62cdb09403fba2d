"""Every stage of the chain compared with what others would use for it, in one run."""
