"""Money: what a job costs before it runs, where a node's price goes, and what interruptions add.

Pure: dates, seeds and prices are arguments. Money is Decimal; an unknown price stays None.
"""
