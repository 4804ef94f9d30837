"""The FHIRPath of search parameters, compiled once into ways down a resource's JSON.

Only what the parameters' expressions are made of: paths, `|`, `as`, `ofType`, `where` with an
equality or `resolve() is`, `extension`. The official definitions tell each step's JSON names and
types, so that a way ends at values of one known type. Before: `definitions`. After:
`search_parameters`. https://hl7.org/fhir/R4/fhirpath.html
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import structure
from fhir_hub_bridge.fhir.reference import parse_reference

Condition: TypeAlias = Callable[[Json], bool]


@dataclass(frozen=True, slots=True)
class Path:
    """One way from a resource (or an element) down to values of one type.

    A step is a JSON property or a condition. `structure` and `within` are where the definitions
    tell what lies below; `targets` the types that a Reference may name, none for any; `binding` the
    value set of a code; `is_single` whether there is at most one value.
    """

    type: str
    structure: str
    within: str = ""
    steps: tuple[str | Condition, ...] = ()
    targets: tuple[str, ...] = ()
    binding: str = ""
    is_single: bool = True

    def values(self, element: Any) -> list[Any]:
        """The values that the way leads to; nothing where JSON has null for one."""
        return follow(self.steps, [element])


def follow(steps: tuple[str | Condition, ...], found: list[Any]) -> list[Any]:
    """Where steps lead from some elements."""
    for step in steps:
        if not isinstance(step, str):
            found = [value for value in found if step(value)]
            continue
        below: list[Any] = []
        for value in found:
            child = value.get(step)
            if isinstance(child, list):
                below += [item for item in child if item is not None]
            elif child is not None:
                below.append(child)
        found = below
    return found


def root(kind: str) -> Path:
    """The way that ends where it begins: at a resource of this type."""
    return Path(kind, kind)


def compile_expression(expression: str, start: Path) -> tuple[Path, ...]:
    """The ways that an expression takes from `start`; what it says of other types is left out.

    Raises KeyError for an element that R4 has not and for words that are not spoken here.
    """
    tokens = deque(_TOKEN.findall(expression))
    paths = _union(tokens, start)
    if tokens:
        raise KeyError(expression)
    # A parameter of an extension means what the extension holds.
    return tuple(
        below
        for path in paths
        for below in (_child(path, "value") if path.type == "Extension" else (path,))
    )


# The same few organizations, and one patient several times in each resource.
parsed_reference: Final = lru_cache(maxsize=4096)(parse_reference)
_TOKEN: Final = re.compile(r"'[^']*'|\w+|\S")
_BACKBONES: Final = ("BackboneElement", "Element")


def _union(tokens: deque[str], start: Path) -> list[Path]:
    paths = _chain(tokens, start)
    while _taken(tokens, "|"):
        paths += _chain(tokens, start)
    return paths


def _chain(tokens: deque[str], start: Path) -> list[Path]:
    if _taken(tokens, "("):
        paths = _union(tokens, start)
        _expect(tokens, ")")
    else:
        paths = _head(_word(tokens), start)
    while _taken(tokens, "."):
        name = _word(tokens)
        if _taken(tokens, "("):
            paths = _called(name, tokens, paths)
            _expect(tokens, ")")
        else:
            paths = [below for path in paths for below in _child(path, name)]
    return _of_type(paths, _word(tokens)) if _taken(tokens, "as") else paths


def _head(name: str, start: Path) -> list[Path]:
    if not name[:1].isupper():
        return _child(start, name)
    return [start] if name in (start.structure, "Resource", "DomainResource") else []


def _called(function: str, tokens: deque[str], paths: list[Path]) -> list[Path]:
    if function in ("as", "ofType"):
        return _of_type(paths, _word(tokens))
    if function == "extension":
        url = _text(tokens)
        extensions = [below for path in paths for below in _child(path, "extension")]
        return _where(extensions, lambda value: value.get("url") == url)
    if function != "where":
        raise KeyError(function)
    name = _word(tokens)
    if name == "resolve":
        for expected in ("(", ")", "is"):
            _expect(tokens, expected)
        kind = _word(tokens)
        return [replace(path, targets=(kind,)) for path in _where(paths, _names_a(kind))]
    _expect(tokens, "=")
    text = _text(tokens)
    return _where(paths, lambda value: value.get(name) == text)


def _child(path: Path, name: str) -> list[Path]:
    for element in structure(path.structure).children(path.within):
        if element.name != name:
            continue
        if element.content:
            steps, single = (*path.steps, name), path.is_single and not element.is_list
            return [Path("BackboneElement", path.structure, element.content, steps, (), "", single)]
        return [
            Path(
                type=found.code,
                structure=path.structure if found.code in _BACKBONES else found.name,
                within=element.path if found.code in _BACKBONES else "",
                steps=(*path.steps, element.json_name(found)),
                targets=found.targets,
                binding=element.binding if element.strength == "required" else "",
                is_single=path.is_single and not element.is_list,
            )
            for found in element.types
        ]
    raise KeyError(f"{path.within or path.structure}.{name}")


def _of_type(paths: Iterable[Path], kind: str) -> list[Path]:
    return [path for path in paths if path.type == kind]


def _where(paths: Iterable[Path], condition: Condition) -> list[Path]:
    return [replace(path, steps=(*path.steps, condition)) for path in paths]


def _names_a(kind: str) -> Condition:
    def names_it(value: Json) -> bool:
        reference = parsed_reference(value.get("reference", ""))
        named = reference.type if reference is not None else ""
        return (named or value.get("type")) == kind

    return names_it


def _taken(tokens: deque[str], token: str) -> bool:
    if not tokens or tokens[0] != token:
        return False
    tokens.popleft()
    return True


def _expect(tokens: deque[str], token: str) -> None:
    if not _taken(tokens, token):
        raise KeyError(token)


def _word(tokens: deque[str]) -> str:
    if not tokens or not tokens[0].isidentifier():
        raise KeyError(tokens[0] if tokens else "")
    return tokens.popleft()


def _text(tokens: deque[str]) -> str:
    if not tokens or not tokens[0].startswith("'"):
        raise KeyError(tokens[0] if tokens else "")
    return tokens.popleft().strip("'")
