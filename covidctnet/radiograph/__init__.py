"""What systems that read radiographs share: what a picture file gives away of its making."""
