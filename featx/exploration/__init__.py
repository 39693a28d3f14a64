"""Look at the images and labels of a study before and after training: tables of facts, and highlights."""
