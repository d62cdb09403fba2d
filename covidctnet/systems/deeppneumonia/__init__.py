"""DeepPneumonia: DRE-Net on fifteen slices of the lungs (Sun Yat-sen)."""
