"""LeWM: encoder and predictor learned end to end, kept from collapsing by SIGReg."""
