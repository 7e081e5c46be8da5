"""Tables and typed functions over one SQL connection; no rules, and only the store commits."""
