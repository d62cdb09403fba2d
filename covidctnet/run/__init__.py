"""The workflows, one file each: from folders to answers, training data, figures, a summary."""
