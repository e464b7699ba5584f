"""What leaves the screen: files, pages, tables, the clipboard, and the last filter before the terminal."""
