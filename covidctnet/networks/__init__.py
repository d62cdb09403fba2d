"""What the networks of several systems share: bodies of the field, their weights, fast inference.

Plain torch modules that know neither files nor volumes nor settings.
"""
