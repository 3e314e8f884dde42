"""What statements are about, whatever they are written in."""
