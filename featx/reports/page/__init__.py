"""Pages: sections of texts, tables, figures and galleries, written as one self-contained HTML file."""
