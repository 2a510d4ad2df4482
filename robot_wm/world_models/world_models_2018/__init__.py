"""World Models (Ha & Schmidhuber 2018): VAE, MDN-RNN, controller evolved in the dream."""
