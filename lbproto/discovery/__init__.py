"""Who the backends of an upstream are, where the configuration does not list them."""
