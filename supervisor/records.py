"""Records: dataclasses to the type checker, and to the reader; at run time, a tenth of the price.

Every process of keepd is forked from an image that has dozens of them. To import dataclasses takes
more time and memory than all that is used of it (inspect, ast and tokenize come along), and each
class of theirs compiles eight functions; one of these compiles one. Slots always. `frozen` is
checked by mypy, and makes a record hashable: nothing more. Nothing may be imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which would be dear
if TYPE_CHECKING:
    from dataclasses import MISSING, Field, asdict, field, fields, replace
    from dataclasses import dataclass as record
    from dataclasses import is_dataclass as is_record
else:
    MISSING = object()

    class Field:
        """One field of a record; `default` and `default_factory` are MISSING where not given."""

        __slots__ = ("default", "default_factory", "metadata", "name")

        def __init__(self, default, default_factory, metadata):
            self.name, self.default = "", default
            self.default_factory, self.metadata = default_factory, metadata

    def field(*, default=MISSING, default_factory=MISSING, metadata=None):
        """Say more of a field than its default."""
        return Field(default, default_factory, metadata or {})

    def record(*, frozen=False, kw_only=False):
        """Make a record of a class: its annotations, in their order, are the fields."""

        def make(cls):
            body = dict(cls.__dict__)
            found = {name: _field(body, name) for name in body.get("__annotations__", ())}
            for name in ("__dict__", "__weakref__"):
                body.pop(name, None)
            body["__slots__"] = body["__match_args__"] = tuple(found)
            body["__record_fields__"] = tuple(found.values())
            body["__init__"] = _init(found, kw_only)
            extras = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash if frozen else None}
            return type(cls)(cls.__name__, cls.__bases__, extras | body)

        return make

    def fields(thing):
        """Return the fields of a record, or of its class."""
        return thing.__record_fields__

    def is_record(thing):
        """Return whether it is a record, or a class of records."""
        return hasattr(thing, "__record_fields__")

    def replace(thing, /, **changes):
        """Return the record with other values."""
        return type(thing)(**{name: getattr(thing, name) for name in thing.__slots__} | changes)

    def asdict(thing):
        """Return its fields and values; what they hold stays as it is."""
        return {name: getattr(thing, name) for name in thing.__slots__}

    def _field(body, name):
        default = body.pop(name, MISSING)
        made = default if isinstance(default, Field) else field(default=default)
        made.name = name
        return made

    def _init(found, kw_only):
        names = {"_MISSING": MISSING}
        heads, lines = ["self", *(["*"] if kw_only and found else [])], []
        for name, each in found.items():
            if each.default_factory is not MISSING:
                names[f"_new_{name}"] = each.default_factory
                heads.append(f"{name}=_MISSING")
                lines.append(f" if {name} is _MISSING: {name} = _new_{name}()")
            elif each.default is not MISSING:
                names[f"_default_{name}"] = each.default
                heads.append(f"{name}=_default_{name}")
            else:
                heads.append(name)
            lines.append(f" self.{name} = {name}")
        source = "\n".join([f"def __init__({', '.join(heads)}):", *lines, " return"])
        exec(source, names)  # noqa: S102 - of nothing but names in our own classes
        return names["__init__"]

    def _repr(self):
        words = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__qualname__}({words})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def _hash(self):
        return hash(tuple([getattr(self, name) for name in self.__slots__]))


__all__ = ["MISSING", "Field", "asdict", "field", "fields", "is_record", "record", "replace"]
