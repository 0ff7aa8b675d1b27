"""From a recipe to checked modules: names resolved, arguments checked, networks built, loss weights over time."""
