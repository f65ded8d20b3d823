"""Many videos: what there is to do, a ledger of it, and workers that do it."""
