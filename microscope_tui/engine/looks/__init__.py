"""Looks: what is made of single examples and rows when the screen asks: cards, token tables, maps, worst tokens."""
