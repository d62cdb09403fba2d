"""Who is in the data: labelled archives, preprocessed studies, and who belongs to which split."""
