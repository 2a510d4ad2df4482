"""What every other package rests on: safe files, strict records, the machine. NumPy and stdlib."""
