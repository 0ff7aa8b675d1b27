"""From labels to lesions, from predictions to candidates, from both to scores: what `localize` rests on."""
