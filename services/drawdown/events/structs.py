"""msgspec structs generated from the pydantic models: one definition, two decoders.

Pydantic is the definition, the documentation and the HTTP side; msgspec decodes a usage event in a
fraction of the time (kafka_facts: 5 % of the whole engine). `struct_of` maps a model's fields and
constraints to a frozen struct and refuses what has no equivalent, so the two cannot drift apart in
silence; `tests/events/test_structs.py` feeds both the same records and compares.

The structs carry the attribute names and types of their models, and are typed as them.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Iterable
from datetime import datetime
from functools import cache, reduce
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic.fields import FieldInfo

T = TypeVar("T")


class UnsupportedFieldError(TypeError):
    """A model uses what has no equivalent in a struct."""


def struct_of(model: type[T], *, checked: bool = False) -> type[T]:
    """The struct class generated from a pydantic model; the same one each time.

    Only a `checked` one has the model's patterns: for bytes from outside. What this engine wrote
    itself is read without: a pattern costs 0.5 us, and an entry has thirty.
    """
    return cast(type[T], _struct(cast(type[BaseModel], model), checked))


class Place(NamedTuple):
    """Where in a model a type stands, and which variant is being made."""

    name: str
    checked: bool


@cache
def _struct(model: type[BaseModel], checked: bool) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    tag: str | None = None
    tag_field: str | None = None
    for name, info in model.model_fields.items():
        if name in _tags(model):
            tag_field = name
            (tag,) = get_args(info.annotation)
            continue
        annotation = _annotated(info, Place(f"{model.__name__}.{name}", checked))
        if info.is_required():
            fields.append((name, annotation))
        elif info.default_factory is not None:
            fields.append((name, annotation, msgspec.field(default_factory=info.default_factory)))  # type: ignore[arg-type]
        else:
            default = info.default
            if isinstance(default, BaseModel):
                default = _struct(type(default), checked)()
            fields.append((name, annotation, default))
    return msgspec.defstruct(
        model.__name__,
        fields,
        frozen=True,
        gc=False,
        kw_only=_defaults_first(fields),
        omit_defaults=True,
        forbid_unknown_fields=model.model_config.get("extra") == "forbid",
        tag=tag,
        tag_field=tag_field,
        module=model.__module__,
    )


def _defaults_first(fields: list[Any]) -> bool:
    """Whether a field without a default comes after one with: then none can be positional."""
    with_default = [len(field) == 3 for field in fields]
    return with_default != sorted(with_default)


def union_of(annotation: Any, *, checked: bool = True) -> Any:
    """The union of structs for an `Annotated[A | B, Field(discriminator=...)]` of models."""
    return _type(annotation, Place("union", checked))


def to_struct(record: T) -> T:
    """The struct of a pydantic record."""
    model = cast(BaseModel, record)
    return cast(T, msgspec.convert(model.model_dump(), _struct(type(model), False)))


def as_read(model: type[T], record: T) -> T:
    """A record that came in with a command, as one that is read back from a row or an entry: a
    checked struct is of another class, and never equal to one that is not."""
    return msgspec.convert(record, struct_of(model), from_attributes=True)


def replaced(record: T, **changes: Any) -> T:
    """The record with some fields changed."""
    return cast(T, msgspec.structs.replace(cast(msgspec.Struct, record), **changes))


UNION_TAGS = ("type", "record", "model", "kind", "row")
"""Fields that tell the members of a union apart: a literal with one value, its default."""


def _tags(model: type[BaseModel]) -> set[str]:
    """The literal fields that a struct carries as its tag."""
    return {
        name
        for name, info in model.model_fields.items()
        if name in UNION_TAGS and get_args(info.annotation) == (info.default,)
    }


def _annotated(info: FieldInfo, where: Place) -> Any:
    """A field's type: pydantic has moved the constraints of its annotation into the field."""
    inner = _type(info.annotation, where)
    return _constrain(inner, info.metadata, where)


def _type(annotation: Any, where: Place) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        return _constrain(_type(inner, where), metadata, where)
    if origin in (Union, types.UnionType):
        return _either(_type(member, where) for member in get_args(annotation))
    if origin is Literal or annotation in (str, int, bool, Any, type(None), datetime):
        return annotation
    if origin is list:
        (item,) = get_args(annotation)
        return list[_type(item, where)]  # type: ignore[misc]
    if origin is dict:
        key, value = get_args(annotation)
        return dict[_type(key, where), _type(value, where)]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation, where.checked)
    if isinstance(annotation, type) and issubclass(annotation, str):
        return annotation  # a StrEnum
    raise UnsupportedFieldError(f"{where.name}: {annotation!r} has no equivalent in msgspec")


IGNORED = (AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema)
"""Only `Timestamp` has these; what they check is msgspec's own for a datetime with tz."""


def _constrain(inner: Any, metadata: list[Any], where: Place) -> Any:
    limits: dict[str, Any] = {}
    for item in _flat(metadata):
        match item:
            case MinLen(min_length=n):
                limits["min_length"] = n
            case MaxLen(max_length=n):
                limits["max_length"] = n
            case Ge(ge=n):
                limits["ge"] = n
            case Gt(gt=n):
                limits["gt"] = n
            case Le(le=n):
                limits["le"] = n
            case Lt(lt=n):
                limits["lt"] = n
            case _ if getattr(item, "pattern", None):
                if not where.checked:
                    continue
                # `$` of Python's re also matches before a final newline; \Z does not.
                limits["pattern"] = item.pattern.removesuffix("$") + r"\Z"
            case _ if isinstance(item, IGNORED):
                pass
            case _:
                raise UnsupportedFieldError(f"{where.name}: constraint {item!r} has no equivalent")
    if _is_time(inner):
        limits["tz"] = True
    if not limits:
        return inner
    return _push(inner, msgspec.Meta(**limits))


def _flat(metadata: list[Any]) -> list[Any]:
    """The constraints, also those inside a `Field(...)`; a description alone says nothing."""
    flat: list[Any] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return flat


def _is_time(inner: Any) -> bool:
    return inner is datetime or (
        get_origin(inner) is Union and any(_is_time(member) for member in get_args(inner))
    )


def _either(members: Iterable[Any]) -> Any:
    return reduce(operator.or_, members)


def _push(inner: Any, meta: msgspec.Meta) -> Any:
    """Put a constraint onto the member of an optional that can have it, as pydantic does."""
    if get_origin(inner) is Union:
        return _either(m if m is type(None) else _push(m, meta) for m in get_args(inner))
    return Annotated[inner, meta]
