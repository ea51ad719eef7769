class Docstring:
    value: str

class Object:
    docstring: Docstring | None

class Extension: ...
