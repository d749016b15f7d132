"""Commands that measure. Nothing here is part of the product."""
