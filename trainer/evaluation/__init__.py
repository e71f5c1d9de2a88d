"""How good a trained system is: scores, their certainty, and what becomes of them over the seconds heard."""
