"""The tree of i-PI's XML reader: finding nodes, changing them, filling in templates, and writing it again."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from ipi.inputs.system import InputSysTemplate
from ipi.utils.io.inputs.io_xml import xml_node, xml_parse_string, xml_write

from ..errors import DarkforcesError, one_line


def parse(text: str) -> xml_node:
    """The node of a piece of XML."""
    return xml_parse_string(text).fields[0][1]


def write(node: xml_node, name: str = "") -> str:
    """The XML of a node; without a name, of what is in it.

    i-PI writes characters that mean something in XML as they are; here they are escaped.
    """
    return str(xml_write(_escaped(node), name))


def _escaped(node: xml_node) -> xml_node:
    attributes = {key: escape(value, {"'": "&apos;"}) for key, value in node.attribs.items()}
    fields = [(kind, escape(held) if kind == "_text" else _escaped(held)) for kind, held in node.fields]
    return xml_node(attributes, node.name, fields)


def children(node: xml_node) -> list[tuple[str, xml_node]]:
    """The children of a node, by their names, without its text."""
    return [(kind, held) for kind, held in node.fields if kind != "_text"]


def child(node: xml_node, name: str) -> xml_node | None:
    """The first node of that name in another one."""
    return next((held for kind, held in children(node) if kind == name), None)


def nodes(node: xml_node) -> Iterator[xml_node]:
    """All nodes in a node, at any depth."""
    for _, held in children(node):
        yield held
        yield from nodes(held)


def descendants(node: xml_node, *names: str) -> Iterator[xml_node]:
    """The nodes of these names in a node, at any depth."""
    return (held for held in nodes(node) if held.name in names)


def forces_in(node: xml_node, *groups: str) -> Iterator[xml_node]:
    """The `<force>` nodes in groups of that name; the tolerances of optimizers have a `<force>` of another kind."""
    for group in descendants(node, *groups):
        yield from descendants(group, "force")


def text_of(node: xml_node) -> str:
    """The text of a node, without white space around it."""
    return "".join(value for kind, value in node.fields if kind == "_text").strip()


def number(value: float) -> str:
    """The text of a number, with all of its digits but those of rounding: 0.3 for 3 times 0.1."""
    return f"{value:.15g}"


def set_text(node: xml_node, text: str) -> None:
    """Give a node another text."""
    node.fields = [(kind, value) for kind, value in node.fields if kind != "_text"]
    node.fields.append(("_text", text))


def replace_child(parent: xml_node, name: str, text: str) -> None:
    """Put a piece of XML in place of the nodes of that name, where the first of them stands, or at the end."""
    at = next((i for i, (kind, _) in enumerate(parent.fields) if kind == name), len(parent.fields))
    parent.fields.insert(at, (name, parse(text)))
    parent.fields = [(kind, node) for i, (kind, node) in enumerate(parent.fields) if kind != name or i == at]


def fill_templates(root: xml_node) -> None:
    """Put the systems that i-PI makes of a `<system_template>` in its place.

    :raises DarkforcesError: if i-PI could not
    """
    root.fields = [
        field
        for kind, node in root.fields
        for field in ([("system", each) for each in _systems(node)] if kind == "system_template" else [(kind, node)])
    ]


def _systems(template: xml_node) -> Iterator[xml_node]:
    parsed = InputSysTemplate()
    try:
        parsed.parse(template)
    except Exception as error:  # i-PI's classes raise anything on what they cannot read
        raise DarkforcesError(f"a <system_template> is not one that i-PI accepts: {one_line(error)}") from error
    labels = [str(label) for label in parsed.labels.fetch()]
    model = child(template, "template")
    assert model is not None
    for _, instance in parsed.extra:
        values = [str(value) for value in instance.fetch()]
        if len(values) != len(labels):
            raise DarkforcesError(
                f"an <instance> of a <system_template> has {len(values)} values for {len(labels)} labels"
            )
        text = write(model)
        # As i-PI does it: of labels that begin alike, the longer one first.
        for label, value in sorted(zip(labels, values, strict=True), reverse=True):
            text = text.replace(label, escape(value))
        system = parse(f"<template>{text}</template>")
        yield from (held for kind, held in children(system) if kind == "system")
