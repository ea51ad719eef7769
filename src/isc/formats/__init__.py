"""One module a chat format: each exports `FAMILY`, its Struct, and `MODELS`, the exact model names it serves."""
