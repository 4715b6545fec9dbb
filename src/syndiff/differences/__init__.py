"""An FFI less a template."""
