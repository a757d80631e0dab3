# SPDX-License-Identifier: GPL-2.0-only
"""What Sphinx has to know to make a book of these pages: make docs."""

project = "apple_dma_pci"
# Part of another page.
exclude_patterns = ["benchmarks-table.rst"]
html_theme = "alabaster"
html_theme_options = {"nosidebar": True}
html_show_copyright = False
