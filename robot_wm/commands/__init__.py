"""Commands of learning: pretrain, probe, train."""
