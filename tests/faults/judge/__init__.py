"""Judges what a campaign left behind. It shares no code with the engine, nor a process.

It reads every topic read_committed from offset 0, folds with exact integers, and compares what it
finds with what clients were told, what stores and the query service hold, and the dead letters.
"""
