"""A kernel's configuration: its symbols, `.config` files and the Kconfig that edits them."""
