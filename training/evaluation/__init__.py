"""What an encoder is judged by: each number a pure function of embeddings and labels; ``training/evaluation/evaluate.py`` puts them together."""
