"""`medssl plan`: a pretraining recipe from what a cache holds and what a device has room for (docs/plan.md)."""
